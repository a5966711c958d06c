import ast
import os
import pathlib
import subprocess
import sys

import pytest

from sdflow_jax.evaluation import drawing

ROOT = pathlib.Path(__file__).parents[2]

PROGRAM = f"""
import io, runpy
names = runpy.run_path({drawing.__file__!r})
figure = names["Figure"]()
figure.subplots().plot([0, 1])
figure.savefig(io.BytesIO(), format="png")
"""


@pytest.mark.parametrize("backend", ["module://no_such_package.backend_inline", "widget"])
def test_a_backend_that_is_not_here_keeps_nobody_from_drawing(backend):
    environment = {**os.environ, "MPLBACKEND": backend}
    command = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_matplotlib_is_imported_at_one_place_and_pyplot_nowhere():
    sources = [ROOT / "evaluate.py", ROOT / "train.py", *(ROOT / "sdflow_jax").rglob("*.py")]
    importing = set()
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")]
            names.append(getattr(node, "module", None) or "")
            if isinstance(node, ast.Import | ast.ImportFrom):
                importing |= {path.name for name in names if name.split(".")[0] == "matplotlib"}
                assert not any("pyplot" in name for name in names), path
    assert importing == {"drawing.py"}
