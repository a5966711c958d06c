"""Whole runs of train.py, stopped in every way."""

import csv
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from reliability.tiny_world import EDITED_ATTRIBUTES, build_tiny_world, tiny_config
from sdflow_jax.files.lock import locked
from sdflow_jax.files.networks import load_network, read_metadata
from sdflow_jax.files.run_config import load_config, save_config

ROOT = pathlib.Path(__file__).parents[1]
NUM_STEPS = 60
OPTIONS = {
    "training.num_steps": NUM_STEPS,
    "training.log_every": 4,  # no divisor of where the interrupt falls, most likely
    "training.checkpoint_every": 8,
    "training.sample_every": 30,
    "optimizer.ema_decay": 0.9,
    "optimizer.decay_steps": NUM_STEPS,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return build_tiny_world(tmp_path_factory.mktemp("world"))


def _start(world, workdir, *flags, **options):
    arguments = [f"--config.{key}={value}" for key, value in {**OPTIONS, **options}.items()]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # also where all cases are run
    }
    config = f"--config={ROOT / 'reliability' / 'tiny_world.py'}:{world}"
    return subprocess.Popen(
        [
            sys.executable,
            str(ROOT / "train.py"),
            config,
            f"--workdir={workdir}",
            *arguments,
            *flags,
        ],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(process):
    try:
        output, _ = process.communicate(timeout=1800)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        pytest.fail(f"no end within half an hour:\n{output}")
    return process.returncode, output


def _rows(workdir):
    """The rows of the CSV without the speed, the only thing that may differ between runs."""
    path = workdir / "metrics.csv"
    if not path.exists():
        return []
    with path.open() as file:
        return [
            {k: v for k, v in r.items() if k != "images_per_second"} for r in csv.DictReader(file)
        ]


def _wait_for(process, workdir, step):
    while not (rows := _rows(workdir)) or int(rows[-1]["step"]) < step:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)


def test_run_stopped_in_every_way_ends_with_the_same_bits(world, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    code, output = _finish(_start(world, whole))
    assert code == 0, output
    assert "images/s" in output and "evaluations" in output and "nll" in output

    process = _start(world, parts)
    _wait_for(process, parts, 12)
    process.send_signal(signal.SIGTERM)
    code, output = _finish(process)
    assert code == 0, output
    assert "SIGTERM: stopped after step" in output
    assert not (parts / "sdflow").exists()

    process = _start(world, parts)
    _wait_for(process, parts, 28)
    process.send_signal(signal.SIGKILL)
    code, output = _finish(process)
    assert code == -signal.SIGKILL, output

    code, output = _finish(_start(world, parts))
    assert code == 0, output
    assert "continuing after step" in output

    assert _rows(parts) == _rows(whole) and len(_rows(whole)) == NUM_STEPS // 4
    for name in ("flow", "semantic_encoder"):
        file = pathlib.Path("sdflow") / f"{name}.safetensors"
        assert (parts / file).read_bytes() == (whole / file).read_bytes()
        metadata = read_metadata(whole / file)
        assert metadata["attributes"] == ",".join(EDITED_ATTRIBUTES)
        assert metadata["step"] == str(NUM_STEPS)
        load_network(whole / file)
    pictures = sorted(path.name for path in (whole / "samples").iterdir())
    assert pictures == ["0000030.png", "0000060.png"]
    for picture in pictures:
        assert (parts / "samples" / picture).read_bytes() == (
            whole / "samples" / picture
        ).read_bytes()
    assert list((whole / "tensorboard").glob("events*"))
    assert load_config(whole)["attributes"] == list(EDITED_ATTRIBUTES)


# Not imported here: evaluate.py, which other tests import, defines flags of the same names.
_SAY = """
import json, sys, train
said = []
for argument in sys.argv[1:]:
    try:
        train.parse_flags(["train.py", argument, "--config.seed=1", "--workdir=x"])
    except SystemExit as ended:
        said.append(ended.code)
print(json.dumps(said))
"""


def test_what_is_no_config_file_is_told_in_one_line(tmp_path):
    (tmp_path / "torn.py").write_text("def get_config(:\n")
    complaints = {
        f"{tmp_path}/nowhere.py": "nowhere.py: no such config file",
        f"{ROOT}/README.md": "a config file must be Python",
        f"{ROOT}/configs/ablation.py": "got ''; name one, as in ablation.py:kd",
        f"{ROOT}/configs/ablation.py:all": "the variants are nll, reg, mi, kd, got 'all'",
        f"{tmp_path}/torn.py": "torn.py, line 1: ",
    }
    command = [sys.executable, "-c", _SAY, *(f"--config={file}" for file in complaints)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert not done.stderr
    for sentence, complaint in zip(json.loads(done.stdout), complaints.values(), strict=True):
        assert sentence.startswith("ConfigError: --config: ") and complaint in sentence
        assert "\n" not in sentence


_FALL = """
import sys, threading, train
sys.unraisablehook = train._only_of_the_main_thread(sys.unraisablehook)

class Falls:
    def __init__(self, name): self.name = name
    def __del__(self): raise RuntimeError(self.name)

threading.Thread(target=Falls, args=["in a thread"]).start()
Falls("in the program")
"""


def test_threads_that_the_disk_has_left_alone_say_nothing():
    command = [sys.executable, "-c", _FALL]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "in the program" in done.stderr and "in a thread" not in done.stderr


_FORK = """
import json, os, sys, train
from absl import app
for words in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        sys.argv = ["train.py", *words]
        app.run(train.main, flags_parser=train.parse_flags)
        sys.exit()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(f"status {status}", file=sys.stderr, flush=True)
"""


def _endings(world, *commands):
    """The last lines of commands that end with status 1 and without a traceback.

    They are forks of one process, which has yet to compute anything: most of the time goes into the
    imports.
    """
    config = f"--config={ROOT / 'reliability' / 'tiny_world.py'}:{world}"
    words = json.dumps([[config, *command] for command in commands])
    command = [sys.executable, "-c", _FORK, words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    *told, rest = done.stderr.split("status 1\n")
    assert rest == "" and len(told) == len(commands), done.stderr
    return [words.splitlines()[-1] for words in told]


def test_mistakes_end_with_one_sentence(world, tmp_path):
    (tmp_path / "file").write_text("in the way")
    nothing = f"--workdir={tmp_path / 'a'}"
    expected = {
        (nothing, "--config.losses.mii=2.0"): "ConfigError: no such key of the config: 'mii'",
        (nothing, "--config.seed=-1"): "ConfigError: config.seed must be at",
        (
            nothing,
            "--config.training.matmul_precision=double",
        ): "ConfigError: config.training.matmul_precision must be 'default' or 'float32', got",
        (f"--workdir={tmp_path / 'file' / 'run'}", "--config.seed=0"): "NotADirectoryError: ",
        (
            f"--workdir={tmp_path / 'b'}",
            "--config.seed=0",
            "--config.training.batch_size=64",
        ): "DataError: a batch of 64 needs at least as many faces",
    }
    for end, beginning in zip(_endings(world, *expected), expected.values(), strict=True):
        assert end.startswith(beginning)
    assert not (tmp_path / "a").exists()


def test_a_run_that_cannot_go_on_is_left_as_it_is(world, tmp_path):
    config = tiny_config(world)
    config.update_from_flattened_dict({**OPTIONS, "training.num_steps": 300})
    options = [f"--config.{key}={value}" for key, value in OPTIONS.items()]
    shorter, in_use = tmp_path / "shorter", tmp_path / "in use"
    for workdir in (shorter, in_use):
        save_config(workdir, config)
        (workdir / "checkpoints" / "300").mkdir(parents=True)
    before = (shorter / "config.json").read_bytes()
    with locked(in_use, "training"):
        commands = [[f"--workdir={workdir}", *options] for workdir in (shorter, in_use)]
        of_shorter, of_in_use = _endings(world, *commands)
    assert f"num_steps is {NUM_STEPS}, and the run in" in of_shorter
    assert of_in_use.startswith(f"InUseError: {in_use} is in use: training")
    for workdir in (shorter, in_use):
        assert (workdir / "config.json").read_bytes() == before
        names = {file.name for file in workdir.iterdir()}
        assert names == {".lock", "checkpoints", "config.json"}


def test_networks_whose_checkpoints_are_gone_are_not_trained_over(world, tmp_path):
    config = tiny_config(world)
    config.update_from_flattened_dict(OPTIONS)
    options = [f"--config.{key}={value}" for key, value in OPTIONS.items()]
    save_config(tmp_path, config)
    (tmp_path / "sdflow").mkdir()
    trained = tmp_path / "sdflow" / "flow.safetensors"
    trained.write_bytes(b"what took hours")
    before = (tmp_path / "config.json").read_bytes()
    command = [f"--workdir={tmp_path}", *options]
    same, other = _endings(world, command, [*command, "--config.losses.mi=3.0"])
    assert same.startswith(f"RunCheckpointError: {trained} is of a finished training whose")
    assert other.startswith("config.losses.mi was ")
    assert (tmp_path / "config.json").read_bytes() == before
    assert trained.read_bytes() == b"what took hours"


@pytest.mark.full
def test_two_processes_train_together_and_continue(world, tmp_path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]

    def run(num_steps):
        processes = [
            _start(
                world,
                tmp_path,
                "--distributed",
                f"--coordinator=localhost:{port}",
                "--num_processes=2",
                f"--process_id={i}",
                **{"training.num_steps": num_steps, "training.checkpoint_every": 4},
            )
            for i in range(2)
        ]
        for process in processes:
            code, output = _finish(process)
            assert code == 0, output

    run(4)
    first = _rows(tmp_path)
    run(8)
    assert _rows(tmp_path)[:1] == first and len(_rows(tmp_path)) == 2
    assert read_metadata(tmp_path / "sdflow" / "flow.safetensors")["step"] == "8"
