import importlib
import inspect
import json
import pathlib
import subprocess
import sys

import pytest

import sdflow_jax

ROOT = pathlib.Path(__file__).parent.parent


def python(code: str):
    """What a fresh interpreter prints, as JSON."""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


def test_the_package_is_imported_at_once():
    code = """
import json, sys, time
start = time.perf_counter()
import sdflow_jax
seconds = time.perf_counter() - start
print(json.dumps([seconds, sorted({name.split(".")[0] for name in sys.modules})]))
"""
    seconds, loaded = python(code)
    heavy = {"flax", "grain", "jax", "matplotlib", "numpy", "orbax", "tensorflow_datasets"}
    assert not heavy & set(loaded)
    assert seconds < 1


def test_an_editor_needs_nothing_of_training():
    code = """
import json, sys
from sdflow_jax import Editor
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
    unwanted = {"grain", "matplotlib", "orbax", "tensorboardX", "tensorflow", "tensorflow_datasets"}
    assert not unwanted & set(python(code))


@pytest.mark.parametrize("name", sdflow_jax.__all__)
def test_every_name_is_there_and_explained(name):
    value = getattr(sdflow_jax, name)
    assert name in dir(sdflow_jax)
    if name != "__version__":
        assert value is getattr(importlib.import_module(value.__module__), name)
        assert len(inspect.getdoc(value)) > 40


@pytest.mark.parametrize("name", sdflow_jax.__all__)
def test_every_method_is_explained(name):
    value = getattr(sdflow_jax, name)
    for method, member in vars(value).items() if inspect.isclass(value) else ():
        is_shown = not method.startswith("_") or method == "__call__"
        if is_shown and (callable(member) or isinstance(member, classmethod | property)):
            assert inspect.getdoc(member), f"{name}.{method}"


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="sdflow_jax.*'Edtor'"):
        sdflow_jax.Edtor  # noqa: B018
    assert sdflow_jax.editor.Editor is sdflow_jax.Editor


def test_the_version_is_the_packages():
    assert "version = attr: sdflow_jax.__version__" in (ROOT / "setup.cfg").read_text()


def test_the_help_of_the_editing_command_waits_for_nothing():
    code = """
import json, sys
import sdflow_jax.edit.__main__
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
    assert not {"flax", "jax", "numpy", "PIL", "scipy"} & set(python(code))


def test_an_edit_needs_no_scipy_before_a_face_is_padded():
    code = """
import json, sys
before = set(sys.modules)
import sdflow_jax.edit.work
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    assert "scipy.ndimage" not in python(code)
