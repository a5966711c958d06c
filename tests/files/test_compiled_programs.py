import os
import pathlib

import jax
import pytest

from sdflow_jax.files.compiled_programs import VARIABLE, keep_compiled_programs
from sdflow_jax.files.user_cache import user_cache


@pytest.fixture(autouse=True)
def unset(monkeypatch, tmp_path):
    """No setting but the test's, and a cache of its own."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_users_cache_is_used_where_nothing_is_said(tmp_path):
    place = keep_compiled_programs()
    assert place.is_dir()
    assert place.parent == tmp_path / "cache" / "sdflow_jax" / "compiled"
    assert jax.config.jax_compilation_cache_dir == str(place)


def test_a_directory_comes_before_the_variable_and_that_before_jax(tmp_path, monkeypatch):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "jax"))
    assert keep_compiled_programs() == tmp_path / "jax"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "variable"))
    assert keep_compiled_programs().parent == tmp_path / "variable"
    assert keep_compiled_programs(str(tmp_path / "given")).parent == tmp_path / "given"


@pytest.mark.parametrize("given", ["", "off"])
def test_off_keeps_none(given, monkeypatch):
    if not given:
        monkeypatch.setenv(VARIABLE, "off")
    assert keep_compiled_programs(given) is None
    assert jax.config.jax_compilation_cache_dir is None


def test_a_place_that_cannot_be_made_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    assert keep_compiled_programs(str(tmp_path / "file" / "below")) is None
    assert jax.config.jax_compilation_cache_dir is None


def test_without_a_home_nothing_is_kept(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(pathlib.Path, "home", home)
    assert keep_compiled_programs() is None
    with pytest.raises(FileNotFoundError, match="XDG_CACHE_HOME"):
        user_cache()


def test_a_directory_that_may_not_be_written_is_done_without(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert keep_compiled_programs(str(tmp_path)) is None
    assert jax.config.jax_compilation_cache_dir is None


def test_the_oldest_go_where_there_are_too_many(tmp_path):
    place = keep_compiled_programs(str(tmp_path))
    names = [
        f"jit_{name}-{name[0] * 64}-cache" for name in ("add", "be", "call")
    ]  # new, older, oldest
    for age, name in enumerate(names):
        file = place / name
        file.write_bytes(bytes(100))
        os.utime(file, ns=(10**18 - age, 10**18 - age))
    keep_compiled_programs(str(tmp_path), max_bytes=250)
    assert {path.name for path in place.iterdir()} == set(names[:2])


def test_nothing_else_is_ever_deleted(tmp_path):
    place = keep_compiled_programs(str(tmp_path))
    program = f"jit_f-{'0' * 64}-cache"
    others = [
        tmp_path / program,  # a directory that was named is somebody's, whatever is in it
        tmp_path / "thesis" / program,
        tmp_path / "thesis" / "notes-on-cache-coherence.txt",
        place / "notes-cache",
        place / "below" / program,
    ]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(1000))
    (place / program.replace("0", "1")).mkdir()
    assert keep_compiled_programs(str(tmp_path), max_bytes=0) == place
    assert all(path.exists() for path in others)
