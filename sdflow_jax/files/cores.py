"""The processor cores that this process may use."""

import os
from collections.abc import Set


def own_cores() -> Set[int]:
    """Their numbers; all of the machine's where the system deals none out, as macOS."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))
