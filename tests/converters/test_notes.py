import pytest

from converters.__main__ import convert_network, main
from converters.errors import CheckpointError
from converters.notes import input_notes
from sdflow_jax.files import networks
from sdflow_jax.methods.sdflow.editing import FlowEditing
from tests.converters.test_command_line import write_network

NAMES = ("Eyeglasses", "Male", "Young")


def test_converted_flow_and_semantic_encoder_edit(tmp_path):
    for kind in ("flow", "resnet"):
        write_network(tmp_path / f"{kind}.pt", kind)
    flow = convert_network(tmp_path / "flow.pt", tmp_path, report=lambda _: None)
    arguments = [str(tmp_path / "resnet.pt"), "--out", str(tmp_path)]
    assert main([*arguments, "--attributes", ",".join(NAMES), "--image-size", "32"]) == 0
    method = FlowEditing.load(flow, tmp_path / "semantic_encoder.safetensors")
    assert method.attributes == NAMES
    assert method.image_size == 32


def test_what_editing_will_ask_for_is_said_at_once(tmp_path, capsys):
    write_network(tmp_path / "c.pt", "resnet")
    assert main([str(tmp_path / "c.pt"), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "--attributes (its 3 outputs) and --image-size" in printed
    with pytest.raises(networks.NetworkFileError, match="with --attributes"):
        FlowEditing.load("pocket:flow", tmp_path / "semantic_encoder.safetensors")


def test_crop_of_an_identity_encoder_is_noted(tmp_path):
    write_network(tmp_path / "c.pt", "arcface")
    assert main([str(tmp_path / "c.pt"), "--out", str(tmp_path), "--crop", "0.1,0.2,0.75"]) == 0
    (file,) = tmp_path.glob("*.safetensors")
    assert networks.read_metadata(file)["crop"] == "0.1,0.2,0.75"


@pytest.mark.parametrize(
    ("network", "notes", "complaint"),
    [
        ("SemanticEncoder", {"attributes": ("A", "B")}, "must name 3 outputs, each once, got 2"),
        ("SemanticEncoder", {"attributes": ("A", "B", "A")}, "each once"),
        ("SemanticEncoder", {"attributes": ("A", "", "B")}, "each once"),
        ("SemanticEncoder", {"image_size": 0}, "at least 1, got 0"),
        ("Generator", {"image_size": 64}, "holds: Generator"),
        ("SemanticEncoder", {"crop": (0.0, 0.0, 1.0)}, "holds: SemanticEncoder"),
        ("IResNet", {"crop": (0.5, 0.0, 0.75)}, "within the image, got 0.5,0,0.75"),
        ("IResNet", {"crop": (0.5, 0.0)}, "TOP,LEFT,SIDE"),
    ],
)
def test_notes_that_cannot_be_meant_are_refused(network, notes, complaint):
    with pytest.raises(CheckpointError, match=complaint):
        input_notes(network, {"num_attributes": 3}, **notes)


def test_refused_note_names_the_checkpoint_and_writes_nothing(tmp_path, capsys):
    write_network(tmp_path / "c.pt", "flow")
    out = tmp_path / "out"
    assert main([str(tmp_path / "c.pt"), "--out", str(out), "--attributes", "A,B"]) == 1
    assert "c.pt: --attributes is for AttributeClassifier and" in capsys.readouterr().err
    assert not out.exists()
