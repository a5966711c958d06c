"""What SDFlow adds to the training step: its losses, and the norms' statistics after an update."""

from collections.abc import Mapping, Sequence

import jax
from flax import nnx
from jaxtyping import Array

from sdflow_jax.flow.moving_batch_norm import Statistics
from sdflow_jax.images.pixels import to_signed
from sdflow_jax.losses import LossSettings, sdflow_losses
from sdflow_jax.methods.sdflow.networks import TrainedNetworks
from sdflow_jax.training.state import Graphs
from sdflow_jax.training.step import Losses, TrainStep, make_train_step

# What must be true of every step (`MetricsLog`), and what to do where it is not.
REQUIREMENTS = {
    "success": "the flow's differential equation was not solved within its steps; raise"
    " config.solver.max_steps, and the same command continues, or config.solver.rtol and"
    " config.solver.atol, in another --workdir"
}


def make_sdflow_step(
    graphs: Graphs,
    generator: nnx.Module,
    classifier: nnx.Module | None = None,
    *,
    weights: Mapping[str, float],
    settings: LossSettings,
    average_decay: float = 0.0,
    sharding: jax.sharding.NamedSharding | None = None,
) -> TrainStep:
    """The training step of SDFlow, as by `make_train_step`.

    Args:
      graphs: from `create_state`, of `TrainedNetworks`.
      generator: the frozen generator.
      classifier: the frozen classifier that reads the edited faces where no semantic encoder is
        trained.
      weights: weight of each of `settings.terms` in the loss.
      settings: what the losses compute.
      average_decay: of the exponential moving average of the parameters, if the state keeps one.
      sharding: where the new state lives; None leaves the choice to jax.

    Returns:
      A function of the state and a batch as from `training_batches`. Besides the losses it measures
      `evaluations_forward` and `evaluations_inverse` of the vector field, and `success`, false if a
      solve failed.
    """

    def losses(
        networks: TrainedNetworks,
        frozen: Mapping[str, nnx.Module],
        batch: Mapping[str, Array],
        key: Array,
    ) -> Losses:
        encoder = networks.semantic_encoder
        if encoder is None:
            encoder = frozen["classifier"]
        terms, aux = sdflow_losses(
            networks.flow,
            encoder,
            frozen["generator"],
            {**batch, "image": to_signed(batch["image"])},
            key,
            settings=settings,
        )
        counts = {f"evaluations_{name}": n for name, n in aux["num_evaluations"].items()}
        return Losses(
            terms,
            {**counts, "success": aux["success"]},
            aux["batch_statistics"],
            is_valid=aux["success"],
        )

    return make_train_step(
        graphs,
        losses,
        weights={name: weights[name] for name in settings.terms},
        frozen={"generator": generator, "classifier": classifier},
        after_update=_move_norms,
        average_decay=average_decay,
        sharding=sharding,
    )


def _move_norms(networks: TrainedNetworks, statistics: Sequence[Statistics] | None) -> None:
    """Move the norms toward the batch; None where no flow was run."""
    if statistics is not None:
        networks.flow.update_statistics(statistics)
