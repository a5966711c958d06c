import pytest

from sdflow_jax.editor import Editor
from tests.exported_run import write_run


@pytest.fixture(scope="package")
def workdir(tmp_path_factory):
    """A finished run of small random networks."""
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="package")
def editor(workdir):
    """Its editor, as the command line has it."""
    return Editor.from_workdir(workdir, batch_size=1)
