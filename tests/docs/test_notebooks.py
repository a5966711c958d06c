"""The notebooks run from the first cell to the last, in the pocket world."""

import importlib.util
import json
import os

import pytest

from tests.docs.fences import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MISSING = [
    name for name in ("nbclient", "nbformat", "ipykernel") if importlib.util.find_spec(name) is None
]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_are_stored_without_outputs(path):
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)


@pytest.mark.full
@pytest.mark.skipif(
    bool(MISSING), reason=f"not installed: {', '.join(MISSING)}; pip install -e '.[notebooks]'"
)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_run(path, tmp_path, monkeypatch):
    import nbclient
    import nbformat

    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4
    text = "".join(output.get("text", "") for output in outputs)
    assert "success: True" in text or path.stem != "research"
