"""Memory of a thousand edits and of a long training: flat once everything has happened once."""

import os
import pathlib
import resource
import signal
import time

from reliability.campaigns import TrainingOfFlow
from reliability.forked import Forked
from reliability.parts import Context, Row

_EDITS = 1000
_TRAINING_S = 1200
_WARM_UP = 0.25  # of the time
_MOST_MB = 16.0  # that memory may rise afterwards


def run(context: Context) -> list[Row]:
    """The training first: a process that has computed with jax cannot be forked."""
    return [_training(context), _edits(context)]


def resident_mb(pid: int | None = None) -> float:
    """Memory that a process has in use now."""
    pages = int(pathlib.Path(f"/proc/{pid or 'self'}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def flat(fault: str, count: int, used: list[float], remark: str) -> Row:
    """The row of memory measured at equal intervals."""
    rest = used[int(len(used) * _WARM_UP) :]
    rise = max(rest) - rest[0]
    remark = f"{remark}: {rest[0]:.0f} MB after warm-up, at most {rise:+.1f} MB later"
    is_flat = rise <= _MOST_MB
    return Row(fault, count, count * is_flat, remark, [] if is_flat else [f"{used} MB"])


def edits(count: int) -> list[float]:
    """Invert, read, edit and show changing numbers of faces; the memory after each tenth of it."""
    import numpy as np

    from reliability.small_editor import SIZE, small_editor

    editor, random, used = small_editor(), np.random.default_rng(0), []
    for i in range(count):
        images = random.uniform(-1, 1, (1 + i % 7, SIZE, SIZE, 3))
        edited = editor.edit(editor.invert(images), images, {"Young": random.uniform(-2, 3)})
        editor.read(editor.synthesize(edited))
        if i % max(1, count // 50) == 0:
            used.append(resident_mb())
    return used


def _edits(context: Context) -> Row:
    count = context.count(_EDITS)
    return flat("edits, one after the other", count, edits(count), "editor")


def _training(context: Context) -> Row:
    campaign = TrainingOfFlow(context.directory)
    campaign.config.optimizer.decay_steps = 10**9
    campaign.config.training.update(
        {"num_steps": 10**8, "sample_every": 200, "checkpoint_every": 100}
    )
    workdir = context.directory / "long"
    workdir.mkdir()
    process = Forked(lambda: campaign.work(workdir), context.directory / "long.log")
    process.wait_until(lambda: (workdir / "checkpoints" / "100").exists())
    limit, used = _TRAINING_S * context.scale, []
    stop = time.monotonic() + limit
    while time.monotonic() < stop and process.work_for(limit / 60):
        used.append(resident_mb(process.pid))
    os.kill(process.pid, signal.SIGTERM)
    if process.finish() != 0:
        log = (context.directory / "long.log").read_text()
        return Row("a long training", 1, 0, "", [f"status {process.status}: {log[-300:]}"])
    steps = max(int(x.name) for x in (workdir / "checkpoints").iterdir() if x.name.isdigit())
    return flat("a long training", 1, used, f"{steps} steps in {limit:.0f} s")
