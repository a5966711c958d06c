"""What training changes: the networks, the optimizer, and optionally an average of the weights.

Between steps all of it is plain nested dictionaries of arrays, because `jax.jit` takes those
fastest and orbax writes them as they are; the structure that makes modules of them (a `GraphDef`)
is kept beside.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import nnx

State = dict[str, Any]


class Graphs(NamedTuple):
    """How arrays become modules.

    Attributes:
      training: of {"networks", "optimizer"}, with the networks in training mode.
      evaluation: of the networks alone, in evaluation mode.
    """

    training: nnx.GraphDef
    evaluation: nnx.GraphDef


def create_state(
    make_networks: Callable[[], nnx.Module],
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    keeps_average: bool,
) -> tuple[Graphs, State]:
    """Begin training.

    Args:
      make_networks: builds the networks with fresh weights; called where jax traces.
      optimizer: the update rule, applied to all `nnx.Param`.
      seed: of the noise and the edits of the steps.
      keeps_average: whether an exponential moving average of the parameters is kept.

    Returns:
      The graphs and the state {"trained": arrays of {"networks", "optimizer"}, "key", "average"};
      "average" is None if none is kept.
    """

    def begin() -> dict[str, Any]:
        networks = make_networks()
        networks.train()
        return {
            "networks": networks,
            "optimizer": nnx.Optimizer(networks, optimizer, wrt=nnx.Param),
        }

    # One program, hardly optimised: it runs once, and the initialisers take long to optimise.
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def initialise() -> dict[str, Any]:
        return nnx.to_pure_dict(nnx.state(begin()))

    abstract = nnx.eval_shape(begin)
    training = nnx.graphdef(abstract)
    average = None
    trained = initialise()
    if keeps_average:
        parameters = nnx.merge(training, trained)["networks"]
        average = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(parameters, nnx.Param)))
    abstract["networks"].eval()
    state = {"trained": trained, "key": jax.random.key(seed), "average": average}
    return Graphs(training, nnx.graphdef(abstract["networks"])), state


def evaluation_networks(graphs: Graphs, state: State) -> nnx.Module:
    """The networks in evaluation mode, with averaged parameters if the state has them."""
    arrays = jax.device_get(
        state["trained"]["networks"]
    )  # of this process alone, also where several train
    networks = nnx.merge(graphs.evaluation, arrays)
    if state["average"] is not None:
        nnx.update(networks, jax.device_get(state["average"]))
    return networks
