"""The conditional continuous normalizing flow between W+ latents and a standard normal."""

from sdflow_jax.flow.cnf import CNF
from sdflow_jax.flow.conditional_flow import ConditionalFlow, FlowSolution
from sdflow_jax.flow.moving_batch_norm import MovingBatchNorm, Statistics
from sdflow_jax.flow.solve import Solution, SolverSettings
from sdflow_jax.flow.trace import draw_noise
from sdflow_jax.flow.vector_field import VectorField

__all__ = [
    "CNF",
    "ConditionalFlow",
    "FlowSolution",
    "MovingBatchNorm",
    "Solution",
    "SolverSettings",
    "Statistics",
    "VectorField",
    "draw_noise",
]
