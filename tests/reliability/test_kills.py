"""Kills of the quickest kinds of work; whole trainings are stopped by tests/test_train.py."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.mark.parametrize(("part", "kills"), [("kill-conversion", 5), ("kill-data", 3)])
def test_killed_work_continues_to_the_same_bits(tmp_path, part, kills):
    scale = kills / 32
    # In processes of its own, which fork: this one has threads.
    command = [sys.executable, "-m", "reliability", "--only", part, "--directory", str(tmp_path)]
    result = subprocess.run(
        [*command, "--scale", str(scale)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (row,) = json.loads((tmp_path / f"{part}.json").read_text())["rows"]
    assert (row["injected"], row["survived"], row["failures"]) == (kills, kills, [])
    assert "| SIGKILL during " in result.stdout


# In a process of its own for the same reason.
CARELESS = """
import pathlib, random, sys, time
from reliability.campaigns import Campaign
from reliability.kills import kill_and_compare
from reliability.quick_runs import files_fingerprint

class Careless(Campaign):
    fault = "SIGKILL during writing to the final name"

    def __init__(self, directory):
        self.directory = directory  # and no world

    def work(self, workdir):
        for letter in "whole":
            with (workdir / "result").open("a") as file:
                file.write(letter)
            time.sleep(0.1)

    def result(self, workdir):
        return files_fingerprint(workdir, "*")

row = kill_and_compare(Careless(pathlib.Path(sys.argv[1])), 3, random.Random(0))
print(row.injected, row.survived, *row.failures, sep="\\n")
"""


def test_files_that_are_not_whole_are_noticed(tmp_path):
    command = [sys.executable, "-c", CARELESS, str(tmp_path)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    injected, survived, *failures = told.splitlines()
    assert int(survived) < int(injected) == 3
    assert any("killed 1 times, not whole: result" in failure for failure in failures)
