"""The networks that the original SDFlow's training writes, under the names that it gives them."""

import numpy as np

from converters.__main__ import main
from sdflow_jax.editor import Editor
from sdflow_jax.files import networks
from tests.converters.test_command_line import write_network
from tests.exported_run import write_run


def test_prior_and_labeldist_become_the_networks_of_an_editor(tmp_path, capsys):
    flow = write_network(tmp_path / "prior-0010000", "flow")
    encoder = write_network(tmp_path / "labeldist-0010000", "resnet")
    out = tmp_path / "networks"
    attributes = "Eyeglasses,Male,Young"
    assert main([str(tmp_path / "prior-0010000"), "--out", str(out)]) == 0
    words = [str(tmp_path / "labeldist-0010000"), "--out", str(out), "--attributes", attributes]
    assert main([*words, "--image-size", "32"]) == 0
    for name, expected in (("flow", flow), ("semantic_encoder", encoder)):
        loaded = networks.flatten(networks.load_network(out / f"{name}.safetensors"))
        assert loaded.keys() == expected.keys()
        assert all(np.array_equal(loaded[key], expected[key]) for key in expected)
    run = write_run(tmp_path / "run") / "networks"
    editor = Editor.from_files(
        generator=run / "generator.safetensors",
        inversion_encoder=run / "inversion_encoder.safetensors",
        flow=out / "flow.safetensors",
        semantic_encoder=out / "semantic_encoder.safetensors",
    )
    assert editor.attributes == ("Eyeglasses", "Male", "Young")
