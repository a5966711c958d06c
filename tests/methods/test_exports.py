"""A run that goes on is not edited with by what an earlier, shorter part of it has left."""

import pytest
from safetensors.numpy import load_file

from sdflow_jax.files import networks, run_config
from sdflow_jax.files.atomic import write_json
from sdflow_jax.methods.registry import load_method
from tests.exported_run import write_run


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path)


def of_step(file, step):
    """The file again, with the note that it is of a step."""
    found = networks.read_metadata(file)
    notes = {"attributes": found["attributes"], "image_size": found["image_size"]}
    arrays = load_file(file)
    networks.save_arrays(
        file, found["network"], found["arguments"], arrays, notes={**notes, "step": str(step)}
    )


@pytest.mark.parametrize(("encoder", "flow"), [(3, 3), (6, 3), (3, 6)])
def test_networks_of_an_earlier_step_are_not_the_runs(run, encoder, flow):
    of_step(run / "sdflow" / "semantic_encoder.safetensors", encoder)
    of_step(run / "sdflow" / "flow.safetensors", flow)
    config = run_config.load_config(run)
    write_json(run / "config.json", {**config, "training": {"num_steps": 6}})
    with pytest.raises(networks.NetworkFileError, match="is of step 3, .* goes on to 6 steps"):
        load_method(run)


def test_networks_of_the_last_step_are(run):
    for name in ("semantic_encoder", "flow"):
        of_step(run / "sdflow" / f"{name}.safetensors", 6)
    config = run_config.load_config(run)
    write_json(run / "config.json", {**config, "training": {"num_steps": 6}})
    assert load_method(run).attributes
