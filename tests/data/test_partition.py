import pytest

from sdflow_jax.data.image_source import DataError
from sdflow_jax.data.partition import read_partition, split_by_name


@pytest.mark.parametrize(
    "text",
    [
        "a.jpg 0\nb.jpg 1\nc.jpg 2\n",
        "a.jpg 0\r\nb.jpg 1\r\nc.jpg 2",
        "image_id,partition\na.jpg,0\nb.jpg,1\nc.jpg,2\n",
        "# official\na.jpg\t0\n\nb.jpg  1\nc.jpg 2\n",
    ],
)
def test_numbers_are_splits(tmp_path, text):
    (tmp_path / "partition.txt").write_bytes(text.encode())
    found = read_partition(tmp_path / "partition.txt")
    assert found == {"a.jpg": "train", "b.jpg": "validation", "c.jpg": "test"}


def test_names_may_begin_with_a_number_sign(tmp_path):
    file = tmp_path / "partition.txt"
    file.write_text("#official\na.jpg 0\n# of others:\n#\n#b.jpg 1\n")
    assert read_partition(file) == {"a.jpg": "train", "#b.jpg": "validation"}


def test_mistakes_are_counted_and_named(tmp_path):
    file = tmp_path / "partition.txt"
    file.write_text("a 0\nb 1\na 2\nb 1\nc 3\nd\n")
    with pytest.raises(DataError) as error:
        read_partition(file)
    assert str(error.value).splitlines() == [
        f"{file} cannot be used",
        "  1 images are listed in two splits: a",
        "  1 images are listed twice: b",
        "  2 lines are not an image and 0, 1 or 2: line 5, line 6",
    ]


def test_without_a_partition_the_name_decides():
    names = [f"{i:06d}.jpg" for i in range(2000)]
    found = split_by_name(names, 0.1)
    assert set(found.values()) == {"train", "validation"}
    assert 150 < sum(split == "validation" for split in found.values()) < 250
    some = split_by_name(names[500:600], 0.1)
    assert all(found[name] == split for name, split in some.items())
