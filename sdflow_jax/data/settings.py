"""The config group `data`: which faces, and how they are read."""

import dataclasses
from collections.abc import Mapping

from sdflow_jax.files.config_groups import Group

# config.data.source -> "module:function", called as
# `data.sources.open_source` is.
SOURCES = {
    "pocket": "sdflow_jax.pocket.source:open_pocket",
    "folder": "sdflow_jax.data.image_folder:open_folder",
}


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Which faces a run is trained on, and how they are read.

    Attributes:
      source: where they come from, a key of `SOURCES`.
      limits: split -> number of faces, for sources that make faces.
      folder: the directory of the source "folder".
      splits: its splits: name -> first face and last + 1.
      directory: of the built data set; empty for `WORKDIR/data`.
      annotation_batch_size: faces per pass through the networks that annotate them.
      num_threads: faces decoded at a time.
      prefetch: training batches held ready.
    """

    source: str
    limits: Mapping[str, int]
    folder: str
    splits: Mapping[str, tuple[int, int]]
    directory: str
    annotation_batch_size: int
    num_threads: int
    prefetch: int

    @classmethod
    def read(cls, group: Group) -> "DataSettings":
        """Read the group; its mistakes are the group's to tell."""
        settings = cls(
            source=group.choice("source", SOURCES),
            limits=_counts(group, "limits"),
            folder=group.text("folder"),
            splits=_ranges(group, "splits"),
            directory=group.text("directory"),
            annotation_batch_size=group.whole("annotation_batch_size", least=1),
            num_threads=group.whole("num_threads", least=1),
            prefetch=group.whole("prefetch", least=1),
        )
        if settings.source == "folder":
            if not settings.folder:
                group.complain("folder", "the directory of the face images")
            if "train" not in settings.splits:
                group.complain("splits", "a mapping that has the split train")
        group.complain_of_unread()
        return settings


def _counts(group: Group, key: str) -> dict[str, int]:
    value = group.anything(key)
    if isinstance(value, Mapping) and all(type(x) is int and x >= 0 for x in value.values()):
        return dict(value)
    group.complain(key, "split -> number of faces")
    return {}


def _ranges(group: Group, key: str) -> dict[str, tuple[int, int]]:
    value = group.anything(key)
    if isinstance(value, Mapping) and all(_is_range(x) for x in value.values()):
        return {name: tuple(ends) for name, ends in value.items()}
    group.complain(key, "split -> first face and last + 1")
    return {}


def _is_range(ends: object) -> bool:
    return isinstance(ends, list | tuple) and [type(x) for x in ends] == [int, int]
