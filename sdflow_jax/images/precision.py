"""float32 as the type of all that is computed, also where the user's program works in float64."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

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
