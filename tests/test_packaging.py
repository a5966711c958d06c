"""A wheel is all that editing needs; the source distribution has the rest."""

import importlib.metadata
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# What the source distribution has besides the packages.
BESIDE = ("benchmarks", "configs", "docs", "notebooks", "reliability", "tests")


def can_build() -> bool:
    if importlib.util.find_spec("build") is None or importlib.util.find_spec("setuptools") is None:
        return False
    return int(importlib.metadata.version("setuptools").split(".")[0]) >= 77


pytestmark = pytest.mark.skipif(
    not can_build(), reason="not installed: build, setuptools>=77; pip install -e '.[dev]'"
)


def run(*command, cwd, **environment):
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the two distributions, and what was said while they were built."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.partial*")
    for folder in ("sdflow_jax", "converters", *BESIDE):
        shutil.copytree(ROOT / folder, source / folder, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, source)
    result = run("-m", "build", "--no-isolation", "--outdir", str(out), ".", cwd=source)
    assert result.returncode == 0, result.stdout + result.stderr
    return out, result.stdout + result.stderr


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """A folder with the wheel's packages alone, without a checkout around them."""
    folder = tmp_path_factory.mktemp("site")
    (wheel,) = built[0].glob("*.whl")
    result = run(
        "-m", "pip", "install", "--no-deps", "--target", str(folder), str(wheel), cwd=folder
    )
    assert result.returncode == 0, result.stderr
    return folder


def test_the_build_has_no_complaints(built):
    lines = [line for line in built[1].lower().splitlines() if "byte-compiling" not in line]
    assert not [line for line in lines if "warning" in line or "deprecat" in line]


def test_the_source_distribution_has_programs_configs_and_documents(built):
    (file,) = built[0].glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"train.py", "evaluate.py", "configs/pocket.py", "configs/baselines/styleflow.py"}
    wanted |= {"docs/start.md", "notebooks/quick_start.ipynb", "CHANGELOG.md", "constraints.txt"}
    # And whatever lies among the documents and tests: tables are made of the records of runs.
    for folder in ("docs", "tests"):
        found = (path for path in (ROOT / folder).rglob("*") if path.is_file())
        wanted |= {path.relative_to(ROOT).as_posix() for path in found if _is_source(path)}
    assert wanted <= names, wanted - names


def test_a_wheel_has_every_file_of_its_packages(installed):
    for package in ("sdflow_jax", "converters"):
        files = [path for path in (ROOT / package).rglob("*") if path.is_file()]
        names = {path.relative_to(ROOT).as_posix() for path in files if _is_source(path)}
        assert {f"{package}/py.typed"} <= names
        missing = {name for name in names if not (installed / name).is_file()}
        assert not missing


def _is_source(path):
    """Whether a file is neither made by Python nor left of something that was stopped."""
    return "__pycache__" not in path.parts and ".partial" not in path.name


@pytest.mark.parametrize("module", ["sdflow_jax.edit", "converters"])
def test_commands_of_a_wheel_run_anywhere(module, installed, tmp_path):
    result = run("-m", module, "--help", cwd=tmp_path, PYTHONPATH=str(installed))
    assert result.returncode == 0, result.stderr
    assert "--out" in result.stdout


def test_networks_of_a_wheel_are_found(installed, tmp_path):
    code = (
        "import sdflow_jax, sdflow_jax.files.networks as n;"
        "print(sdflow_jax.__file__); print(n.read_metadata('pocket:flow')['network'])"
    )
    result = run("-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    assert result.stdout.split() == [
        str(installed / "sdflow_jax" / "__init__.py"),
        "ConditionalFlow",
    ], result.stderr


def test_what_needs_a_checkout_says_so(installed, tmp_path):
    result = run("-m", "sdflow_jax.study", "--tiny", cwd=tmp_path, PYTHONPATH=str(installed))
    assert result.returncode != 0
    assert "train.py" in result.stderr
    assert "source distribution" in result.stderr
    assert "Traceback" not in result.stderr
