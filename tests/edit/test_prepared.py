import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from sdflow_jax.edit import loading, prepared
from sdflow_jax.edit.__main__ import main
from sdflow_jax.edit.prepared import PreparedEditor, place_of
from sdflow_jax.files import code_digest, compiled_programs, networks
from sdflow_jax.files.compiled_programs import VARIABLE
from tests.exported_run import SIZE, write_run

ROOT = pathlib.Path(__file__).parents[2]
PIXELS = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def run(workdir, tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "ada.png")

    def edit(*words: str) -> np.ndarray:
        out = tmp_path / "out"
        fixed = (tmp_path / "ada.png", "--out", out, "--workdir", workdir)
        assert main([*map(str, fixed), *(words or ("--set", "Young=1"))]) == 0
        return np.asarray(Image.open(out / "ada.png"))

    return edit


def kept(cache) -> list[pathlib.Path]:
    return sorted(cache.glob("traced/edit-*.safetensors"))


@pytest.fixture
def loads(monkeypatch):
    """How often networks were loaded."""
    counted = []
    load = loading._load
    monkeypatch.setattr(loading, "_load", lambda workdir: counted.append(workdir) or load(workdir))
    return counted


def test_the_second_edit_loads_no_network_and_makes_the_same_picture(run, editor, cache, loads):
    expected = editor(PIXELS, {"Young": 1.0})
    np.testing.assert_array_equal(run(), expected)
    assert len(kept(cache)) == len(loads) == 1
    np.testing.assert_array_equal(run(), expected)
    other = {"Young": 0.3, "Eyeglasses": -0.5}
    words = ("--set", *(f"{name}={value}" for name, value in other.items()))
    np.testing.assert_array_equal(run(*words), editor(PIXELS, other))
    assert len(kept(cache)) == len(loads) == 1


def test_its_parts_are_the_editors(editor, tmp_path):
    path = tmp_path / "kept"
    PreparedEditor.of(editor, 16, path).keep()
    found = PreparedEditor.load(path)
    found.compile(size=16)
    for name in ("attributes", "sizes", "picture_size"):
        assert getattr(found, name) == getattr(editor, name)
    w_plus = found.invert(PIXELS)
    np.testing.assert_array_equal(w_plus, editor.invert(PIXELS))
    edited = found.edit(w_plus, PIXELS, {"Eyeglasses": 0.8})
    np.testing.assert_array_equal(edited, editor.edit(w_plus, PIXELS, {"Eyeglasses": 0.8}))
    picture = found.synthesize(edited, size=16)
    np.testing.assert_array_equal(picture, editor.synthesize(edited, size=16))
    for call in (lambda: found.synthesize(edited), found.compile):
        with pytest.raises(ValueError, match="prepared for pictures of size 16, asked for None"):
            call()
    with pytest.raises(FloatingPointError, match="could not be solved"):
        found.edit(np.nan * w_plus, PIXELS, {"Young": 1.0})


def test_another_process_imports_nothing_that_networks_are_made_of(run, workdir, cache, tmp_path):
    with jax.default_matmul_precision(None):  # as in a new process; tests of commands set it
        run()
    code = (
        "import sys; from sdflow_jax.edit.__main__ import main\n"
        f"assert main({[str(tmp_path / 'ada.png'), '--set', 'Young=1', '--workdir', str(workdir)]}"
        f" + ['--out', {str(tmp_path / 'again')!r}]) == 0\n"
        "assert not {'diffrax', 'sdflow_jax.editor', 'tensorflow_datasets'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=dict(os.environ))
    first, again = (np.asarray(Image.open(tmp_path / x / "ada.png")) for x in ("out", "again"))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("damage", ["cut", "changed", "text", "gone"])
def test_a_damaged_file_is_made_again(run, cache, loads, damage):
    expected = run()
    (path,) = kept(cache)
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        middle = len(whole) // 2
        changed = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        path.write_bytes({"cut": whole[:-9], "changed": changed, "text": b"no"}[damage])
    np.testing.assert_array_equal(run(), expected)
    assert len(loads) == 2
    with safe_open(kept(cache)[0], framework="numpy") as file:
        assert json.loads(file.metadata()["facts"])["picture_size"] == SIZE
    run()
    assert len(loads) == 2


def test_without_a_home_nothing_is_kept(run, loads, tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(loading, "keep_compiled_programs", lambda: tmp_path)  # jax's own setting

    def user_cache():
        raise FileNotFoundError("this user has no home directory")

    monkeypatch.setattr(compiled_programs, "user_cache", user_cache)
    run()
    assert len(loads) == 1


def test_other_networks_have_another_place(tmp_path):
    workdir, programs = write_run(tmp_path / "run"), tmp_path / "programs"
    first = place_of(programs, workdir, None)
    assert place_of(programs, workdir, None) == first
    assert place_of(programs, workdir, 16).path != first.path
    flow = workdir / "sdflow" / "flow.safetensors"
    metadata = networks.read_metadata(flow)
    with safe_open(flow, framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    name = next(key for key, x in arrays.items() if x.dtype == np.float32 and x.size > 1)
    arrays[name] = arrays[name] * np.float32(1.5)
    networks.save_arrays(flow, metadata["network"], metadata["arguments"], arrays)
    assert place_of(programs, workdir, None).path != first.path


def test_other_code_has_another_place(workdir, tmp_path, monkeypatch):
    code = tmp_path / "code"
    code.mkdir()
    (code / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(code_digest, "_PACKAGE", code)
    first = place_of(tmp_path, workdir, None).path
    (code / "a.py").write_text("x = 2\n")
    assert place_of(tmp_path, workdir, None).path != first


@pytest.mark.parametrize("reason", ["off", "large", "refined", "pasted"])
def test_nothing_is_kept_where_that_is_not_wanted(run, editor, cache, monkeypatch, reason):
    words = ("--set", "Young=1")
    if reason == "off":
        monkeypatch.setenv(VARIABLE, "off")
    elif reason == "large":
        monkeypatch.setattr(prepared, "_MAX_BYTES", 1000)
    elif reason == "refined":
        words += ("--num-steps", "1")
    else:
        monkeypatch.setattr("sdflow_jax.edit.work.load_finder", lambda name: lambda pixels: [])
        monkeypatch.setattr("sdflow_jax.edit.work._Work.edit", lambda self, photo, output: [])
        words += ("--align", "--paste")
        return_value = loading.load_editor
        seen = []
        monkeypatch.setattr(
            "sdflow_jax.edit.work.load_editor",
            lambda *a, may_prepare, **k: (
                seen.append(may_prepare) or return_value(*a, may_prepare=may_prepare, **k)
            ),
        )
    if reason == "pasted":
        with pytest.raises(FileNotFoundError):
            run(*words)
        assert seen == [False]
    else:
        picture = run(*words)
        if reason != "refined":
            np.testing.assert_array_equal(picture, editor(PIXELS, {"Young": 1.0}))
    assert kept(cache) == []


def test_what_cannot_be_done_is_told_of_prepared_editors_too(run, workdir, cache, tmp_path, capsys):
    run()
    photo, out = tmp_path / "ada.png", tmp_path / "out"
    words = [str(photo), "--set", "Glasses=1", "--workdir", str(workdir), "--out", str(out)]
    assert main(words) == 1
    told = capsys.readouterr().err
    assert told == "error: unknown attribute 'Glasses'; this editor knows Young, Eyeglasses\n"
