"""matplotlib's objects for figures that are only ever written to files.

The one place that imports matplotlib: a notebook hands its `MPLBACKEND` down to the programs that it
starts, and where the backend of that name is not installed, matplotlib refuses to be imported. No
figure here needs a backend; `savefig` renders with Agg.
"""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def _without_chosen_backend() -> Iterator[None]:
    """Set `MPLBACKEND` aside; afterwards it is what it was."""
    chosen = os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        if chosen is not None:
            os.environ["MPLBACKEND"] = chosen


with _without_chosen_backend():
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    from matplotlib.ticker import PercentFormatter

# In a notebook's own process pyplot still gets what the notebook has chosen for it.
if _chosen := os.environ.get("MPLBACKEND"):
    with contextlib.suppress(ValueError):
        matplotlib.rcParams["backend"] = _chosen

__all__ = ["Axes", "Figure", "Patch", "PercentFormatter", "styled"]

styled = matplotlib.rc_context
