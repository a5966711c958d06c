"""Semantic face editing with conditional normalizing flows: SDFlow in JAX and Flax."""

from sdflow_jax.editor import Editor
from sdflow_jax.files.networks import load_network, save_network
from sdflow_jax.flow.conditional_flow import ConditionalFlow

__all__ = ["ConditionalFlow", "Editor", "load_network", "save_network"]
