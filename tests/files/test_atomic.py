import json

import pytest

from sdflow_jax.files.atomic import write_atomic, write_json


def test_a_file_is_the_old_one_or_the_whole_new_one(tmp_path):
    path = tmp_path / "below" / "notes.json"
    write_json(path, {"a": 1.5, "b": None})

    def write_half(stream):
        stream.write(b'{"a": ')
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, write_half)
    assert json.loads(path.read_text()) == {"a": 1.5, "b": None}
    write_atomic(path, lambda stream: stream.write(b"{}"))
    assert path.read_bytes() == b"{}"
    assert [file.name for file in path.parent.iterdir()] == ["notes.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_is_strict(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "notes.json", {"a": value})
    assert not list(tmp_path.iterdir())
