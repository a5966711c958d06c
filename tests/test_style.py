import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.parametrize("command", [["format", "--check"], ["check"]])
def test_ruff_has_no_complaints(command):
    result = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--no-cache", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_torch_is_never_imported():
    sources = [
        path
        for folder in ("sdflow_jax", "converters", "tests", "configs", "benchmarks", "reliability")
        for path in (ROOT / folder).rglob("*.py")
    ]
    assert sources
    forbidden = ("import " + "torch", "from " + "torch")
    offenders = [
        str(path.relative_to(ROOT))
        for path in sources
        if any(words in path.read_text().lower() for words in forbidden)
    ]
    assert not offenders
