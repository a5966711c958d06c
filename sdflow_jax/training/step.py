"""One update of the flow and the semantic encoder."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
from flax import nnx
from jax.sharding import NamedSharding
from jaxtyping import Array

from sdflow_jax.images.pixels import to_signed
from sdflow_jax.losses import LossSettings, sdflow_losses
from sdflow_jax.training.sharding import replicate
from sdflow_jax.training.state import Graphs, State

TrainStep = Callable[[State, Mapping[str, Array]], tuple[State, dict[str, Array]]]


def make_train_step(
    graphs: Graphs,
    generator: nnx.Module,
    classifier: nnx.Module | None = None,
    *,
    weights: Mapping[str, float],
    settings: LossSettings,
    average_decay: float = 0.0,
    sharding: NamedSharding | None = None,
) -> TrainStep:
    """Compile (at the first call) the training step.

    Args:
      graphs: from `create_state`.
      generator: the frozen generator; no gradient of its weights is computed.
      classifier: the frozen classifier that reads the edited faces where no semantic encoder is
        trained; no gradient of its weights is computed either.
      weights: weight of each of `settings.terms` in the loss.
      settings: what the losses compute.
      average_decay: of the exponential moving average of the parameters, if the state keeps one.
      sharding: where the new state lives; None leaves the choice to jax.

    Returns:
      A function of the state, which it consumes, and a batch as from `training_batches`. It returns
      the new state and scalars: `loss`, each term unweighted, `gradient_norm`,
      `evaluations_forward` and `evaluations_inverse` of the vector field, and `success`, false if a
      solve failed.
    """
    frozen_graph, frozen_arrays = nnx.split({"generator": generator, "classifier": classifier})
    weights = {name: weights[name] for name in settings.terms}

    # The frozen arrays are arguments: closed over, they would be compiled in as constants.
    @functools.partial(jax.jit, donate_argnums=0, out_shardings=sharding)
    def train_step(state, frozen_arrays, batch):
        trained = nnx.merge(graphs.training, state["trained"])
        networks, optimizer = trained["networks"], trained["optimizer"]
        frozen = nnx.merge(frozen_graph, frozen_arrays)
        batch = {**batch, "image": to_signed(batch["image"])}
        key = jax.random.fold_in(state["key"], optimizer.step[...])

        def loss_fn(networks):
            encoder = networks.semantic_encoder
            if encoder is None:
                encoder = frozen["classifier"]
            terms, aux = sdflow_losses(
                networks.flow, encoder, frozen["generator"], batch, key, settings=settings
            )
            return sum(weights[name] * terms[name] for name in weights), (terms, aux)

        (loss, (terms, aux)), gradients = nnx.value_and_grad(loss_fn, has_aux=True)(networks)
        optimizer.update(networks, gradients)
        if aux["batch_statistics"] is not None:
            networks.flow.update_statistics(aux["batch_statistics"])
        measured = {
            "loss": loss,
            **terms,
            "gradient_norm": optax.tree.norm(nnx.to_pure_dict(gradients)),
            **{f"evaluations_{name}": count for name, count in aux["num_evaluations"].items()},
            "success": aux["success"],
        }
        return next_state(state, trained, average_decay), measured

    arrays = nnx.to_pure_dict(frozen_arrays)
    if sharding is not None:
        arrays = replicate(arrays, sharding)
    return lambda state, batch: train_step(state, arrays, batch)


def next_state(state: State, trained: dict[str, Any], average_decay: float) -> State:
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
