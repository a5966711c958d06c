"""One update of whatever is trained: a weighted sum of losses, its gradient, the optimizer."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import NamedSharding
from jaxtyping import Array, Bool, Float, PyTree

from sdflow_jax.training.sharding import replicate
from sdflow_jax.training.state import Graphs, State

TrainStep = Callable[[State, Mapping[str, Array]], tuple[State, dict[str, Array]]]


class Losses(NamedTuple):
    """What a loss function returns.

    Attributes:
      terms: the losses, unweighted scalars.
      measured: further scalars to be logged.
      by_products: any arrays, for the hook after the update.
      is_valid: false where the terms mean nothing, however plausible they look.
    """

    terms: dict[str, Float[Array, ""]]
    measured: Mapping[str, Array] = {}
    by_products: Any = None
    is_valid: Bool[Array, ""] | bool = True


# (trained networks, frozen networks by name, batch, random key) -> losses
LossFunction = Callable[[nnx.Module, Mapping[str, nnx.Module], Mapping[str, Array], Array], Losses]


def make_train_step(
    graphs: Graphs,
    losses: LossFunction,
    *,
    weights: Mapping[str, float],
    frozen: Mapping[str, nnx.Module] | None = None,
    after_update: Callable[[nnx.Module, Any], None] | None = None,
    average_decay: float = 0.0,
    sharding: NamedSharding | None = None,
) -> TrainStep:
    """Compile (at the first call) the training step.

    A step that would bring a number that is not finite into the state, or whose losses are not
    valid, is skipped: nothing changes but the count of steps, so that the next one draws anew.

    Args:
      graphs: from `create_state`.
      losses: pure but for what training mode moves, such as a batch norm's statistics. Its key is
        another one at every step, and the same one again when a step is repeated.
      weights: of each of its terms in the loss.
      frozen: networks by name, of whose weights no gradient is computed.
      after_update: is given the updated networks and the losses' by-products, and may move what the
        optimizer does not.
      average_decay: of the exponential moving average of the parameters, if the state keeps one.
      sharding: where the new state lives; None leaves the choice to jax.

    Returns:
      A function of the state, which it consumes, and a batch. It returns the new state and scalars:
      `loss`, each term unweighted, `gradient_norm`, `is_skipped`, and what else the losses measure.
    """
    frozen_graph, frozen_arrays = nnx.split(dict(frozen or {}))
    weights = dict(weights)

    # The frozen arrays are arguments: closed over, they would be compiled in as constants.
    @functools.partial(jax.jit, donate_argnums=0, out_shardings=sharding)
    def train_step(state, frozen_arrays, batch):
        trained = nnx.merge(graphs.training, state["trained"])
        networks, optimizer = trained["networks"], trained["optimizer"]
        frozen = nnx.merge(frozen_graph, frozen_arrays)
        key = jax.random.fold_in(state["key"], optimizer.step[...])

        def loss_fn(networks):
            found = losses(networks, frozen, batch, key)
            return sum(weight * found.terms[name] for name, weight in weights.items()), found

        (loss, found), gradients = nnx.value_and_grad(loss_fn, has_aux=True)(networks)
        optimizer.update(networks, gradients)
        if after_update is not None:
            after_update(networks, found.by_products)
        measured = {
            "loss": loss,
            **found.terms,
            "gradient_norm": optax.tree.norm(nnx.to_pure_dict(gradients)),
            **found.measured,
        }
        new = _next_state(state, trained, average_decay)
        is_sound = found.is_valid & _is_finite(measured) & _is_finite(new)
        new = jax.lax.cond(is_sound, lambda new, _: new, lambda _, old: old, new, state)
        new["trained"]["optimizer"]["step"] = optimizer.step[...]
        return new, {**measured, "is_skipped": ~is_sound}

    arrays = nnx.to_pure_dict(frozen_arrays)
    if sharding is not None:
        arrays = replicate(arrays, sharding)
    return lambda state, batch: train_step(state, arrays, batch)


def _next_state(state: State, trained: dict[str, Any], average_decay: float) -> State:
    """The state after an update of `trained`, with the average of the parameters moved if it is kept."""
    average = state["average"]
    if average is not None:
        parameters = nnx.to_pure_dict(nnx.state(trained["networks"], nnx.Param))
        average = jax.tree.map(
            lambda old, new: old + (1 - average_decay) * (new - old), average, parameters
        )
    return {
        "trained": nnx.to_pure_dict(nnx.state(trained)),
        "key": state["key"],
        "average": average,
    }


def _is_finite(tree: PyTree[Array]) -> Bool[Array, ""]:
    """Whether all numbers are finite, in one pass over all of them: one for each array, of which there
    are hundreds, takes longer to compile than the rest of the step.
    """
    floats = [x.ravel() for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    if not floats:
        return jnp.asarray(True)
    widest = functools.reduce(jnp.promote_types, (x.dtype for x in floats))
    return jnp.all(jnp.isfinite(jnp.concatenate([x.astype(widest) for x in floats])))
