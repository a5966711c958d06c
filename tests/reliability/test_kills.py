"""Kills of the quickest kinds of work; whole trainings are stopped by tests/test_train.py."""

import json
import pathlib
import random
import subprocess
import sys
import time

import pytest

from reliability.campaigns import Campaign
from reliability.kills import kill_and_compare
from reliability.quick_runs import files_fingerprint

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


class Careless(Campaign):
    """Work that writes to the final name piece by piece."""

    fault = "SIGKILL during careless writing"

    def __init__(self, directory):
        self.directory = directory  # and no world

    def work(self, workdir):
        for letter in "whole":
            with (workdir / "result").open("a") as file:
                file.write(letter)
            time.sleep(0.1)

    def result(self, workdir):
        return files_fingerprint(workdir, "*")


def test_files_that_are_not_whole_are_noticed(tmp_path):
    row = kill_and_compare(Careless(tmp_path), 3, random.Random(0))
    assert row.survived < row.injected == 3
    assert any("killed 1 times, not whole: result" in failure for failure in row.failures)
