"""SIGTERM and Ctrl-C while training: a checkpoint within one step, and the same end."""

import mmap
import pathlib
import random
import re
import signal

from reliability.campaigns import Campaign, Training
from reliability.forked import Forked
from reliability.parts import Context, Row
from reliability.quick_runs import differences

_FULL = 10  # of each


class Watched(Training):
    """A training that tells its step to another process."""

    def __init__(self, directory: pathlib.Path):
        super().__init__(directory)
        self.step = mmap.mmap(-1, 8)
        # No checkpoint is due: those that are there, signals have left.
        self.config.training.checkpoint_every = 1000

    def work(self, workdir):
        from sdflow_jax.training.metrics_log import MetricsLog

        add = MetricsLog.add

        def told(log, step, *others):
            self.step[:8] = step.to_bytes(8, "little")
            add(log, step, *others)

        MetricsLog.add = told  # in the forked process alone
        super().work(workdir)

    def steps(self) -> int:
        """The last step that was begun."""
        return int.from_bytes(self.step[:8], "little")


def run(context: Context) -> list[Row]:
    """Signals of both kinds at random steps."""
    campaign = Watched(context.directory)
    reference = context.directory / "reference"
    reference.mkdir()
    if Forked(lambda: campaign.work(reference), context.directory / "reference.log").finish():
        raise RuntimeError((context.directory / "reference.log").read_text())
    expected = campaign.result(reference)
    names = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C (SIGINT)"}
    rng = context.random()
    return [
        _row(f"{name} during training", number, campaign, context.count(_FULL), expected, rng)
        for number, name in names.items()
    ]


def _row(
    fault: str,
    number: signal.Signals,
    campaign: Campaign,
    count: int,
    expected: dict[str, str],
    rng: random.Random,
) -> Row:
    failures = []
    for i in range(count):
        workdir = campaign.directory / f"{number.name}-{i}"
        wrong = _interrupt(campaign, workdir, number, rng.randint(1, 14), expected)
        failures += [f"run {workdir.name}: {wrong}"] if wrong else []
    return Row(fault, count, count - len(failures), "saved within one step", failures)


def _interrupt(
    campaign: Watched,
    workdir: pathlib.Path,
    number: signal.Signals,
    at: int,
    expected: dict[str, str],
) -> str:
    """Interrupt the second stage of a run after a step and let it continue; what is wrong, if anything."""
    log = workdir.with_name(f"{workdir.name}.log")
    campaign.step[:8] = bytes(8)
    process = Forked(lambda: campaign.work(workdir), log)
    # The stages count their steps anew.
    process.wait_until(lambda: (workdir / "checkpoints").exists())
    campaign.step[:8] = bytes(8)
    process.wait_until(lambda: campaign.steps() >= at)
    process.send(number)
    latest = campaign.steps() + 1
    if process.finish() != 0:
        return f"status {process.status}"
    told = re.findall(rf"{number.name}: stopped after step (\d+)", log.read_text())
    if not told:
        return "it did not stop"
    if int(told[-1]) > latest:
        return f"stopped after step {told[-1]}, the signal came before {latest}"
    if not (workdir / "checkpoints" / told[-1]).is_dir():
        return f"no checkpoint of step {told[-1]}"
    if Forked(lambda: campaign.work(workdir), log).finish() != 0:
        return f"does not continue, see {log}"
    other = differences(campaign.result(workdir), expected)
    return f"ends with other {', '.join(other)}" if other else ""
