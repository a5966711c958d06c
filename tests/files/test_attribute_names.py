import pytest

from sdflow_jax.files.attribute_names import CELEBA_ATTRIBUTES, attribute_columns, attribute_names


def _metadata(count, note=None):
    return {"arguments": {"num_attributes": count}} | ({"attributes": note} if note else {})


def test_names_come_from_the_file():
    assert attribute_names(_metadata(2, "Male, Young")) == ("Male", "Young")


def test_forty_unnamed_attributes_are_celebas():
    names = attribute_names(_metadata(40))
    # Positions in list_attr_celeba.txt.
    assert [names[i] for i in (0, 15, 20, 39)] == [
        "5_o_Clock_Shadow",
        "Eyeglasses",
        "Male",
        "Young",
    ]
    assert len(set(names)) == 40
    assert attribute_names({"arguments": {}}) == CELEBA_ATTRIBUTES  # the classifier's default


@pytest.mark.parametrize("metadata", [_metadata(3), _metadata(3, "Male,Young")])
def test_unnamed_attributes_are_refused(metadata):
    with pytest.raises(ValueError, match="predicts 3 attributes.*with --attributes"):
        attribute_names(metadata)


def test_columns_are_found_by_name():
    assert attribute_columns(("a", "b", "c"), ("c", "a")) == (2, 0)


def test_unknown_and_repeated_names_are_refused():
    with pytest.raises(ValueError, match="does not predict x; choose among a, b"):
        attribute_columns(("a", "b"), ("a", "x"))
    with pytest.raises(ValueError, match="distinct"):
        attribute_columns(("a", "b"), ("a", "a"))
