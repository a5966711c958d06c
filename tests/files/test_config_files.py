import pathlib

import pytest
from ml_collections import config_flags

from sdflow_jax.files.config_files import read_config

CONFIG = """
def get_config(*arguments):
    return [__file__, *arguments]
"""


@pytest.mark.parametrize("argument", ["", ":", ":mi", ":METHOD@a/b:c"])
def test_a_config_is_read_as_the_command_line_reads_it(tmp_path, monkeypatch, argument):
    (tmp_path / "some.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    path = f"some.py{argument}"
    found = read_config(path)
    parser = config_flags.config_flags.ConfigFileFlagParser(name="config", lock_config=False)
    assert found[1:] == parser.parse(path)[1:]
    assert pathlib.Path(found[0]).samefile("some.py")  # whence a config finds the others
    assert read_config(tmp_path / path)[1:] == found[1:]


def test_what_is_no_config_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.py: no such config file"):
        read_config(tmp_path / "nowhere.py:mi")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match=r"empty\.py: .* must define get_config"):
        read_config(tmp_path / "empty.py")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"config\.json: .* must be Python"):
        read_config(tmp_path / "config.json")
