"""Which of the labeled pictures train, which choose, and which measure."""

import hashlib
import os
from collections.abc import Sequence

from sdflow_jax.data.findings import Findings
from sdflow_jax.data.image_source import SPLITS
from sdflow_jax.data.text_lines import read_lines

_CODES = {str(place): split for place, split in enumerate(SPLITS)}


def read_partition(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read CelebA's `list_eval_partition.txt`, an image and 0 (train), 1 (validation) or 2 (test) in
    each line, with a space or a comma between them; a header may stand before a CSV file's lines.

    Returns:
      image -> its split, one of `SPLITS`.

    Raises:
      DataError: naming the file, with a line for every kind of mistake: lines of another form, images
        that are listed twice (and whether their splits agree).
    """
    findings = Findings(path)
    found: dict[str, str] = {}
    lines = read_lines(path)
    for line in lines:
        words = [word.strip() for word in line.text.split("," if "," in line.text else None)]
        if line is lines[0] and "," in line.text and words[-1] not in _CODES:
            continue  # the header of a CSV file
        if len(words) != 2 or words[1] not in _CODES:
            findings.add("lines are not an image and 0, 1 or 2", f"line {line.number}")
            continue
        name, split = words[0], _CODES[words[1]]
        if name in found:
            same = "twice" if found[name] == split else "in two splits"
            findings.add(f"images are listed {same}", name)
        found.setdefault(name, split)
    findings.finish()
    return found


def split_by_name(images: Sequence[str], validation_share: float) -> dict[str, str]:
    """A partition where nobody has published one: a share of the images validates, the others train.

    Each image's name alone decides, so that it stays where it is when others come or go.

    Args:
      images: names.
      validation_share: about how many of them validate, in (0, 1).
    """
    bound = int(validation_share * 2**32)

    def validates(name: str) -> bool:
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") < bound

    return {name: "validation" if validates(name) else "train" for name in images}
