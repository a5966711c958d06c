"""The one loop behind every pocket training: progress, checkpoints, resume."""

import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from sdflow_jax.files.bars import Bar

SAVE_EVERY_S = 90.0
REPORT_EVERY = 20


def train(
    name: str,
    state: Any,
    step: Callable[[Any, int], tuple[Any, dict[str, jax.Array]]],
    num_steps: int,
    folder: pathlib.Path,
    *,
    preview: Callable[[Any, int], None] | None = None,
    preview_every: int = 1000,
) -> Any:
    """Run `state, metrics = step(state, index)` up to `num_steps`, from the newest checkpoint in `folder/name`.

    A step must depend on nothing but the state and its index; then a run that was killed ends at the same state as
    one that was not.

    Args:
      name: of the training, for the progress bar and the folder.
      state: initial pytree of arrays; its buffers may be donated.
      step: one update.
      num_steps: index at which the training is finished.
      folder: where checkpoints and `NAME.jsonl` with the smoothed metrics go.
      preview: called with the state and the number of finished steps now and then, to make pictures.
      preview_every: steps between previews.

    Returns:
      The final state.
    """
    # Strong types throughout: a weakly typed initial value would compile the step twice.
    state = jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), state)
    options = ocp.CheckpointManagerOptions(max_to_keep=2, cleanup_tmp_directories=True)
    smoothed: dict[str, float] = {}
    with ocp.CheckpointManager((folder / name).absolute(), options=options) as manager:
        done = manager.latest_step() or 0
        if done:
            target = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
            )
            state = manager.restore(done, args=ocp.args.StandardRestore(target))
        last_save, pending = time.monotonic(), []
        with Bar(total=num_steps, initial=done, desc=name, smoothing=0.02) as bar:
            for index in range(done, num_steps):
                state, metrics = step(state, index)
                pending.append(metrics)
                bar.update()
                if len(pending) == REPORT_EVERY or index + 1 == num_steps:
                    for key, values in _means(pending).items():
                        smoothed[key] = 0.8 * smoothed.get(key, values) + 0.2 * values
                    pending.clear()
                    bar.set_postfix({k: f"{v:.4f}" for k, v in smoothed.items()})
                    with (folder / f"{name}.jsonl").open("a") as log:
                        log.write(json.dumps({"step": index + 1, **smoothed}) + "\n")
                if time.monotonic() - last_save > SAVE_EVERY_S or index + 1 == num_steps:
                    manager.save(index + 1, args=ocp.args.StandardSave(state))
                    last_save = time.monotonic()
                if preview is not None and (index + 1) % preview_every == 0:
                    preview(state, index + 1)
        manager.wait_until_finished()
    return state


def _means(metrics: list[dict[str, jax.Array]]) -> dict[str, float]:
    fetched = jax.device_get(metrics)
    return {key: float(np.mean([m[key] for m in fetched])) for key in fetched[-1]}
