import re

import numpy as np
import pytest

from sdflow_jax.data.attribute_labels import read_labels
from sdflow_jax.data.image_source import DataError

PUBLISHED = """3
Smiling Male Young\u0020
000001.jpg  1 -1  1
000002.jpg -1 -1  1
000003.jpg  1  1 -1
"""
VALUES = [[1, 0, 1], [0, 0, 1], [1, 1, 0]]


@pytest.fixture
def read(tmp_path):
    def read(text, *attributes, age_column=""):
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "labels").write_bytes(content)
        return read_labels(tmp_path / "labels", attributes, age_column=age_column)

    return read


@pytest.mark.parametrize(
    "text",
    [
        PUBLISHED,
        PUBLISHED.replace("\n", "\r\n"),
        "\ufeff" + PUBLISHED,
        "# of three faces\n\n" + PUBLISHED.replace("000002", "# the second\n000002"),
        PUBLISHED.removeprefix("3\n"),
        "image_id,Smiling,Male,Young\n000001.jpg,1,-1,1\n000002.jpg,-1,-1,1\n000003.jpg,1,1,-1\n",
        "image,Smiling,Male,Young\r\n000001.jpg, 1, 0, 1\r\n000002.jpg,0,0,1\r\n000003.jpg,1,1,0",
        "image\tSmiling\tMale\tYoung\n000001.jpg\t1\t-1\t1\n000002.jpg\t-1\t-1\t1\n000003.jpg\t1\t1\t-1\n",
        "image,Smiling,Male,Young\n000001.jpg,1,-1,1\n,,,\n000002.jpg,-1,-1,1\n000003.jpg,1,1,-1\n,,,\n,,,",
        "Image,Attribute,Value\n"
        + "\n".join(
            f"00000{i + 1}.jpg,{name},{value}"
            for i, row in enumerate(VALUES)
            for name, value in zip(("Smiling", "Male", "Young"), row, strict=True)
        ),
    ],
    ids=[
        "published",
        "windows",
        "mark",
        "comments",
        "no count",
        "wide",
        "zeros",
        "tabs",
        "empty rows",
        "long",
    ],
)
def test_all_forms_say_the_same(read, text):
    labels = read(text)
    assert labels.images == ("000001.jpg", "000002.jpg", "000003.jpg")
    assert labels.attributes == ("Smiling", "Male", "Young")
    assert labels.values.tolist() == VALUES and labels.values.dtype == np.int8
    assert labels.years is None
    assert read(text, "Young", "Smiling").values.tolist() == [[1, 1], [1, 0], [0, 1]]


def test_labels_may_be_unknown(read):
    labels = read("image,Smiling,Male\na.png,,1\nb.png,0,?\nc.png,nan,0\n")
    assert labels.values.tolist() == [[-1, 1], [0, -1], [-1, 0]]
    labels = read("image,attribute,value\na.png,Smiling,1\nb.png,Male,0\n")
    assert labels.values.tolist() == [[1, -1], [-1, 0]]
    assert labels.take([1]).values.tolist() == [[-1, 0]]


def test_ages_are_years(read):
    labels = read("image,Male,age\na,1,31.5\nb,0,\nc,1,0\n", age_column="age")
    assert labels.attributes == ("Male",)
    np.testing.assert_array_equal(labels.years, np.float32([31.5, np.nan, 0]))
    with pytest.raises(DataError, match=r"2 images have no age in years in age: a 'old', b '-3'"):
        read("image,Male,age\na,1,old\nb,0,-3\n", age_column="age")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file says nothing"),
        (b"\xff\xfe\x00", "expected a text in UTF-8"),
        ("3\n", "names no attribute"),
        (PUBLISHED.replace("3\n", "4\n", 1), "line 1 announces 4 images, 3 lines follow"),
        (
            PUBLISHED.replace(" 1  1 -1", " 1 -1").replace(" 1 -1  1", " 1"),
            "2 lines have not one label for each of the 3 columns: line 3 .000001.jpg. has 1, line 5",
        ),
        (
            PUBLISHED.replace("000003.jpg  1  1 -1", "000001.jpg 1 -1 1"),
            "1 images are listed twice: 0",
        ),
        (
            PUBLISHED.replace("000003", "000001"),
            "1 images are listed twice, with labels that contradict: 000001.jpg",
        ),
        (PUBLISHED.replace("-1", "2"), "3 images have labels other than 1, 0, -1 or nothing: 0"),
        (
            PUBLISHED.replace("000003.jpg  1", "000003.jpg  0"),
            "both -1 and 0, .*leave unknown labels empty: 0 at 000003.jpg",
        ),
        (PUBLISHED.replace("Male", "Smiling"), "with different names, .* got 'Smiling', 'Smiling'"),
        ("image;Male\na;1\n", "expected commas between the columns, or white space; .* semicolons"),
        (",,\n,,\n", "names no attribute"),
        ("image,Male\na,1\n,0\n", "1 lines name no image: line 3"),
        ("image,attribute,value\na,Male,1\n,Male,0\n", "1 lines name no image: line 3"),
        ('image,"Big, wide"\na,1\n', "no comma in them; got 'Big, wide'"),
        (
            "image,attribute,value\na,Male,1\na,Male,0\nb,Male,1\nb,Male,1\nc,Male\n",
            "1 labels are listed twice, with labels that contradict: a Male\n"
            "  1 labels are listed twice: b Male\n"
            "  1 lines are not image, attribute, value: line 6",
        ),
    ],
)
def test_mistakes_are_counted_and_named(read, tmp_path, text, message):
    with pytest.raises(DataError) as error:
        read(text)
    assert str(tmp_path / "labels") in str(error.value)
    assert re.search(message, str(error.value)), error.value


def test_many_mistakes_are_few_words(read):
    text = "10\nMale\n" + "\n".join(f"{i}.jpg yes" for i in range(10))
    with pytest.raises(
        DataError, match=r"10 images .*: 0.jpg 'yes', 1.jpg 'yes', 2.jpg 'yes' and 7"
    ):
        read(text)


def test_attributes_that_are_not_there_are_named(read, tmp_path):
    with pytest.raises(
        DataError, match="no column Bald, age; its columns are Smiling, Male, Young"
    ):
        read(PUBLISHED, "Male", "Bald", age_column="age")
    with pytest.raises(DataError, match="nothing.txt: No such file"):
        read_labels(tmp_path / "nothing.txt")
