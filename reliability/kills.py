"""SIGKILL at random moments: every restart continues, and the end is that of a run never stopped."""

import pathlib
import random
import shutil
import signal
import time

from reliability.campaigns import CAMPAIGNS, Campaign
from reliability.forked import Forked
from reliability.parts import Context, Row
from reliability.quick_runs import differences

# Kills of one run before it may come to its end, where what it left is compared.
_MOST_PER_RUN = 6
_MOST_RUNS_PER_KILL = 5


def run(context: Context) -> list[Row]:
    """One campaign, named as the part is."""
    campaign = CAMPAIGNS[context.name](context.directory)
    return [kill_and_compare(campaign, context.count(campaign.kills), context.random())]


def kill_and_compare(campaign: Campaign, kills: int, rng: random.Random) -> Row:
    """Kill a campaign's work so often, with a new run after each that came to its end.

    A run that does not end as it should counts none of its kills as survived.
    """
    reference, again = (campaign.directory / name for name in ("reference", "reference-again"))
    _finish(campaign, _new_run(campaign, reference))
    expected = campaign.result(reference)
    # The first run compiled what all others find compiled: kills in its time would mostly come too late.
    start = time.monotonic()
    _finish(campaign, _new_run(campaign, again))
    duration = time.monotonic() - start
    injected = survived = runs = 0
    failures: list[str] = []
    if other := differences(campaign.result(again), expected):
        failures.append(f"two undisturbed runs end with other {', '.join(other)}")
    while injected < kills and runs < _MOST_RUNS_PER_KILL * kills:
        runs += 1
        workdir = _new_run(campaign, campaign.directory / f"run-{runs}")
        # Runs of one kill each too: a fault may hide where the second kill falls.
        most = min(rng.randint(1, _MOST_PER_RUN), kills - injected)
        times, wrong = 0, ""
        try:
            while times < most:
                start = time.monotonic()
                if not _is_killed(campaign, workdir, duration, rng):
                    if times == 0:  # the machine may be faster now
                        duration = min(duration, time.monotonic() - start)
                    break
                times += 1
                if partial := _partial(campaign, workdir, expected):
                    wrong = f"not whole: {', '.join(partial)}"
                    break
            _finish(campaign, workdir)
            if other := differences(campaign.result(workdir), expected):
                wrong = wrong or f"ends with other {', '.join(other)}"
        except Exception as error:  # whatever was left in pieces
            wrong = f"does not continue: {error}"
        injected += times
        if wrong:
            failures.append(f"run {runs}, killed {times} times, {wrong}")
        else:
            survived += times
            shutil.rmtree(workdir)
    if injected < kills:
        failures.append(f"only {injected} of {kills} kills came in time")
    remark = f"{runs} runs to the end, {duration:.1f} s each" + "; all to the same bits" * (
        not failures
    )
    return Row(campaign.fault, injected, survived, remark, failures)


def _new_run(campaign: Campaign, workdir: pathlib.Path) -> pathlib.Path:
    workdir.mkdir()
    campaign.prepare(workdir)
    return workdir


def _log(workdir: pathlib.Path) -> pathlib.Path:
    return workdir.with_name(f"{workdir.name}.log")


def _finish(campaign: Campaign, workdir: pathlib.Path) -> None:
    status = Forked(lambda: campaign.work(workdir), _log(workdir)).finish()
    if status != 0:
        raise RuntimeError(f"status {status}, see {_log(workdir)}")


def _is_killed(
    campaign: Campaign, workdir: pathlib.Path, duration_s: float, rng: random.Random
) -> bool:
    """Start the work and kill it; false if it was faster."""
    window = rng.uniform(0, campaign.window_s(duration_s))
    may_come = campaign.moment_may_come(workdir)
    process = Forked(lambda: campaign.work(workdir), _log(workdir))
    if process.wait_until(may_come) and process.work_for(window):
        process.kill()
    if process.status not in (0, -signal.SIGKILL):
        raise RuntimeError(f"{workdir.name}: status {process.status}, see {_log(workdir)}")
    return process.status == -signal.SIGKILL


def _partial(campaign: Campaign, workdir: pathlib.Path, expected) -> list[str]:
    """Files with their final name that are not what they will be in the end."""
    found = campaign.whole_files(workdir)
    return sorted(name for name, value in found.items() if expected.get(name, value) != value)
