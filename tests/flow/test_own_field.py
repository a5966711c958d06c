"""A vector field of one's own in place of the flow's."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.scipy.linalg import expm

from tests.flow.small_flow import DIM, NUM_CONDITIONS, small_batch, small_flow


class LinearField(nnx.Module):
    """dy/dt = y A(s), whose flow is a matrix exponential."""

    def __init__(self, seed=3):
        matrices = np.random.default_rng(seed).normal(size=(NUM_CONDITIONS, DIM, DIM))
        self.matrices = nnx.Param(jnp.asarray(0.4 * matrices, jnp.float32))

    def condition(self, s):
        return jnp.einsum("ba,aij->bij", s, self.matrices[...])

    @staticmethod
    def velocity(time, y, conditioned):
        return y @ conditioned


def linear_flow(adjoint="stored_steps"):
    flow = small_flow(solver={"rtol": 1e-6, "atol": 1e-6, "adjoint": adjoint})
    flow.blocks[0].field = LinearField()
    return flow


def test_it_is_followed_and_its_divergence_counted():
    flow = linear_flow()
    y, s, _ = small_batch()
    got, change, _ = flow.blocks[0].solve(y, s, flow.solver, trace="exact")
    end_time = flow.blocks[0].sqrt_end_time[...] ** 2
    generators = end_time * flow.blocks[0].field.condition(s)
    np.testing.assert_allclose(got, y @ jax.vmap(expm)(generators), rtol=1e-4, atol=1e-5)
    divergence = jnp.trace(generators, axis1=1, axis2=2)
    np.testing.assert_allclose(
        change, jnp.broadcast_to(-divergence[:, None], change.shape), atol=1e-5
    )


def test_it_learns():
    y, s, noise = small_batch()

    def loss(flow):
        return jnp.sum(flow.forward(y, s, noise=noise).delta_logp)

    gradients = [
        nnx.grad(loss)(flow)["blocks"][0]["field"]["matrices"][...]
        for flow in (linear_flow(), linear_flow("backsolve"))
    ]
    # The estimate is sum_b T e^T A(s_b) e, linear in the matrices; the norms see none of it.
    end_time = small_flow().blocks[0].sqrt_end_time[...] ** 2
    expected = -end_time * jnp.einsum("ba,bni,bnj->aij", s, noise, noise)
    for found in gradients:
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_it_compiles_once():
    flow = linear_flow()
    y, s, _ = small_batch()
    count = 0

    class Counted(LinearField):
        @staticmethod
        def velocity(time, y, conditioned):
            nonlocal count
            count += 1
            return y @ conditioned

    flow.blocks[0].field = Counted()
    flow.forward(y, s)
    traced = count
    flow.forward(y, s)
    assert traced > 0
    assert count == traced
