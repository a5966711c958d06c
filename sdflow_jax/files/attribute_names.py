"""Names of the attributes that a classifier predicts, and the choice of some of them by name."""

from collections.abc import Mapping, Sequence
from typing import Any

# The order of CelebA's list_attr_celeba.txt, which CelebA-trained classifiers keep for their
# outputs.
CELEBA_ATTRIBUTES = (
    *("5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs"),
    *("Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows"),
    *("Chubby", "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup"),
    *("High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard"),
    *("Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns"),
    *("Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat"),
    *("Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young"),
)


def attribute_names(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a classifier's outputs, from the metadata of its network file.

    The note `attributes` (comma-separated) names them; a classifier with CelebA's 40 attributes
    needs none.

    Raises:
      ValueError: if the file names none and they are not CelebA's, or their number is not the
        network's.
    """
    count = metadata["arguments"].get("num_attributes", len(CELEBA_ATTRIBUTES))
    note = metadata.get("attributes", "")
    names = tuple(name.strip() for name in note.split(",") if name.strip())
    if not names and count == len(CELEBA_ATTRIBUTES):
        return CELEBA_ATTRIBUTES
    if len(names) != count:
        raise ValueError(
            f"the classifier predicts {count} attributes and its file names {len(names)}"
            f" ({note!r}); convert it with --attributes NAME,NAME,..."
        )
    return names


def attribute_columns(available: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """Where each of the `wanted` attributes stands among the `available` ones.

    Raises:
      ValueError: for a name that is not available, or that is wanted twice.
    """
    unknown = [name for name in wanted if name not in available]
    if unknown:
        raise ValueError(
            f"the classifier does not predict {', '.join(unknown)};"
            f" choose among {', '.join(available)}"
        )
    if len(set(wanted)) != len(wanted):
        raise ValueError(f"attributes must be distinct, got {', '.join(wanted)}")
    return tuple(list(available).index(name) for name in wanted)
