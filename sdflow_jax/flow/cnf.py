"""Continuous normalizing flow: latents carried along a vector field, with their change of
log-density.

`dy/dt = Phi(y, t, s)` and `d log p / dt = -tr(dPhi/dy)` (Neural ODEs, Chen et al. 2018, eq. 8;
FFJORD), over `t` in [0, T]. T is learned, stored as its square root. The solve runs over unit time
with the field scaled by T: `T` is then a parameter like any other, and its gradient is the full one
in both directions (upstream's lacks the field's explicit time dependence in the reverse direction).
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from sdflow_jax.flow import solve as solving
from sdflow_jax.flow.trace import Trace, exact_trace, hutchinson_trace
from sdflow_jax.flow.vector_field import VectorField

# (time, latents, what `condition` returned) -> dy/dt
Velocity = Callable[[Array, Array, PyTree], Array]


class CNF(nnx.Module):
    """One continuous flow: a vector field and the time for which it is followed.

    `field` may be replaced by any module with `condition(s)`, which returns a pytree of arrays, and a
    static method `velocity(time, y, conditioned)`, which sees traced values through its arguments
    only and treats the n latents of an example alike.
    """

    def __init__(
        self,
        dim: int,
        num_conditions: int,
        hidden_sizes: Sequence[int],
        *,
        end_time: float = 1.0,
        learn_end_time: bool = True,
        rngs: nnx.Rngs,
    ):
        self.learn_end_time = learn_end_time
        self.field = VectorField(dim, num_conditions, hidden_sizes, rngs=rngs)
        self.sqrt_end_time = nnx.Param(jnp.asarray(end_time**0.5, jnp.float32))

    def solve(
        self,
        y: Float[Array, "b n d"],
        s: Float[Array, "b a"],
        settings: solving.SolverSettings,
        *,
        noise: Float[Array, "b n d"] | None = None,
        trace: Trace = "hutchinson",
        reverse: bool = False,
    ) -> tuple[Float[Array, "b n d"], Float[Array, "b n"] | None, solving.Solution]:
        """Carry latents from time 0 to T, or back.

        Args:
          y: latents.
          s: semantic variables.
          settings: the solver.
          noise: Hutchinson's probe, the same for the whole solve, which makes the estimated
            equation an ordinary one. Without it, and with trace "hutchinson", no divergence is
            computed at all.
          trace: "exact" computes the divergence without noise.
          reverse: from T to 0.

        Returns:
          The latents at the other end, the change of log-density per latent in nats (None unless
          asked for), and the solution that tells steps and success.
        """
        sqrt_end_time = self.sqrt_end_time[...]
        if not self.learn_end_time:
            sqrt_end_time = jax.lax.stop_gradient(sqrt_end_time)
        sqrt_end_time = sqrt_end_time.astype(jnp.promote_types(sqrt_end_time.dtype, y.dtype))
        if noise is not None:  # a forward derivative wants the type of what it is taken along
            noise = noise.astype(y.dtype)
        args = (self.field.condition(s), sqrt_end_time**2, noise)
        if trace == "exact":
            derivative, start = _with_exact_density, _start(y)
        elif noise is not None:
            derivative, start = _with_estimated_density, _start(y)
        else:
            derivative, start = _latents_only, y
        # A partial that jax compares by its parts: it compiles once for each field.
        derivative = jax.tree_util.Partial(derivative, self.field.velocity)
        solution = solving.solve(derivative, start, args, settings, reverse=reverse)
        if derivative.func is _latents_only:
            return solution.y, None, solution
        return *solution.y, solution

    def mismatch(
        self,
        start: Float[Array, "b n d"],
        end: Float[Array, "b n d"],
        s: Float[Array, "b a"],
        shares: Float[Array, " b"],
    ) -> Float[Array, " b"]:
        """How far the field is from the velocity of straight paths, at one place of each: the loss of flow
        matching (Lipman et al. 2023, "Flow Matching for Generative Modeling"; Liu et al. 2023), which
        solves no equation.

        Args:
          start: where the paths begin, at time 0.
          end: where they end, at time T.
          s: semantic variables.
          shares: the share of the way at which each example is looked at, in [0, 1].

        Returns:
          The mean squared difference of each example, in unit time.
        """
        end_time = self.sqrt_end_time[...] ** 2
        if not self.learn_end_time:
            end_time = jax.lax.stop_gradient(end_time)

        def velocity(share, y, s):  # of one example: a field sees one time for all that it is given
            return self.field.velocity(end_time * share, y[None], self.field.condition(s[None]))[0]

        between = start + shares[:, None, None] * (end - start)
        found = end_time * jax.vmap(velocity)(shares, between, s)
        return jnp.mean((found - (end - start)) ** 2, axis=(1, 2))


# The three right-hand sides. Everything traced comes in by `args` = (layers, end_time, noise).


def _latents_only(velocity: Velocity, time: Array, y: Array, args: PyTree) -> Array:
    layers, end_time, _ = args
    return end_time * velocity(end_time * time, y, layers)


def _with_estimated_density(
    velocity: Velocity, time: Array, state: tuple[Array, Array], args: PyTree
) -> tuple[Array, Array]:
    layers, end_time, noise = args
    dy, divergence = hutchinson_trace(
        lambda y: velocity(end_time * time, y, layers), state[0], noise
    )
    return end_time * dy, -end_time * divergence


def _with_exact_density(
    velocity: Velocity, time: Array, state: tuple[Array, Array], args: PyTree
) -> tuple[Array, Array]:
    layers, end_time, _ = args
    dy, divergence = exact_trace(lambda y: velocity(end_time * time, y, layers), state[0])
    return end_time * dy, -end_time * divergence


def _start(y: Float[Array, "b n d"]) -> tuple[Array, Array]:
    return y, jnp.zeros(y.shape[:-1], y.dtype)
