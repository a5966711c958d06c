"""How often Python looks for dead objects."""

import gc


def collect_seldom() -> None:
    """Look for objects that only each other keep alive at least a hundred times less often than usual.

    Importing, building networks and tracing make objects by the million, of which nearly all stay: the usual
    searches find nothing and take a sixth of a short command's time. What has died is still found.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
