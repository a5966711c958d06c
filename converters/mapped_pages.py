"""Giving back the memory that reading a memory-mapped checkpoint takes."""

import mmap

import numpy as np


def release(view: memoryview | np.ndarray) -> None:
    """Let go of the pages of the mapped file that `view` belongs to; does nothing for other views.

    A page that has been read counts as this process's memory until the system needs it, so a large
    checkpoint and what is made of it would seem to take twice its size. Nothing is lost: a page
    that is touched again is read again.
    """
    while isinstance(view, np.ndarray):
        view = view.base
    mapping = view.obj if isinstance(view, memoryview) else view
    if isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)
