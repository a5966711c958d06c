"""float32 as the type of all that is computed, also where the user's program works in float64."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp

P = ParamSpec("P")
R = TypeVar("R")


def in_float32(function: Callable[P, R]) -> Callable[P, R]:
    """The function as if `JAX_ENABLE_X64` were not set: jax draws, counts and adds in 32 bits in it.

    The networks here are trained, stored and measured so; under 64 bits they would cost twice the
    memory and give other bits. What the user's program does outside is left as it is.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.enable_x64(False):
            return function(*args, **kwargs)

    return run


def at_least_float32(dtype: jnp.dtype) -> jnp.dtype:
    """float32, or a wider type itself: what colors are added up in, whatever feature maps are kept in."""
    return dtype if dtype.itemsize > 4 else jnp.dtype(jnp.float32)
