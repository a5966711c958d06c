import socket
import subprocess
import sys

import pytest

from sdflow_jax.demo import __main__ as command
from sdflow_jax.editor import Editor


@pytest.fixture
def loaded(monkeypatch):
    """How an editor was asked for."""
    calls = []
    for name in ("from_pretrained", "from_workdir", "from_files"):
        monkeypatch.setattr(
            Editor,
            name,
            classmethod(
                lambda cls, *words, name=name, **options: calls.append((name, words, options))
            ),
        )
    return calls


def load(*words):
    return command.load_editor(command._parser().parse_args(words))


FILES = {"generator": "g", "inversion_encoder": "i", "flow": "f", "semantic_encoder": "s"}


def test_the_pocket_world_a_run_or_files(loaded):
    load()
    load("--workdir", "runs/mine")
    load(*(word for name, file in FILES.items() for word in (f"--{name.replace('_', '-')}", file)))
    assert [(name, tuple(map(str, words))) for name, words, _ in loaded] == [
        ("from_pretrained", ("pocket",)),
        ("from_workdir", ("runs/mine",)),
        ("from_files", ()),
    ]
    assert {name: str(file) for name, file in loaded[2][2].items() if name in FILES} == FILES


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--flow", "f"), "missing: --generator --inversion-encoder --semantic-encoder"),
        (("--flow", "f", "--workdir", "w"), "not both"),
    ],
)
def test_what_does_not_go_together_is_told(loaded, words, message):
    with pytest.raises(ValueError, match=message):
        load(*words)
    assert not loaded


def test_only_this_machine_is_listened_to():
    arguments = command._parser().parse_args([])
    assert (arguments.host, arguments.port, arguments.open) == ("127.0.0.1", 7860, False)


def test_a_run_that_is_none_is_one_line(tmp_path, capsys):
    pytest.importorskip("gradio", reason='needs gradio: pip install "sdflow_jax[demo]"')
    assert command.main(["--workdir", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1


def test_a_port_in_use_is_told_before_anything_is_loaded(loaded, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for host in ("127.0.0.1", "0.0.0.0", "localhost"):
            assert command.main(["--host", host, "--port", str(port)]) == 1
            told = capsys.readouterr()
            assert told.err == f"error: --port {port} is in use; choose another\n"
            assert told.out == "" and not loaded
    command.check_address("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [
        ("127.0.0.1", 0, "--port 0 is no port"),
        ("127.0.0.1", 65536, "--port 65536 is no port"),
        ("192.0.2.1", 50000, "--host 192.0.2.1 is no address of this machine"),
        ("[2001:db8::1]", 50000, r"--host \[2001:db8::1\] is no address of this machine"),
        ("nowhere.invalid", 50000, "--host nowhere.invalid is no address of this machine"),
    ],
)
def test_an_address_that_cannot_be_served_at_is_told(host, port, message):
    with pytest.raises(ValueError, match=message):
        command.check_address(host, port)


def test_the_process_ends_while_a_thread_compiles():
    program = (
        "import threading, time, jax, jax.numpy as jnp\n"
        "from sdflow_jax.demo import __main__ as command\n"
        "def slow(x):\n"
        "    for i in range(500):\n"
        "        x = jnp.sin(x) @ jnp.full((3, 3), float(i)) + jnp.cos(x)\n"
        "    return x\n"
        "lowered = jax.jit(slow).lower(jnp.ones((3, 3)))\n"
        "threading.Thread(target=lowered.compile, name=command._WARM_UP, daemon=True).start()\n"
        "time.sleep(0.3)\n"
        "command._end(3)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
    assert ended.returncode == 3 and not ended.stderr
