"""The config group `data`: which faces, and how they are read."""

import dataclasses
from collections.abc import Mapping

from sdflow_jax.data.image_source import SPLITS
from sdflow_jax.files.config_groups import Group
from sdflow_jax.files.run_config import GROUP_DEFAULTS

# config.data.source -> "module:function", called as
# `data.sources.open_source` is.
SOURCES = {
    "folder": "sdflow_jax.data.image_folder:open_folder",
    "generator": "sdflow_jax.data.generator_samples:open_generator",
    "latents": "sdflow_jax.data.known_latents:open_latents",
}
# Sources whose faces come with their latents: no inversion encoder is needed.
WITH_LATENTS = ("generator", "latents")

# What not every source reads, as it must be for the others.
_NEUTRAL = {**GROUP_DEFAULTS["data"], "latents": ""}
_READ_BY = {"generator": _NEUTRAL.keys() - {"latents"}, "latents": {"latents", "image_size"}}


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Which faces a run is trained on, and how they are read.

    Attributes:
      source: where they come from, a key of `SOURCES`.
      limits: split -> how many of its faces are used, from the first on; all of a split that is not named.
      folder: the directory of the source "folder", and of the pictures that the source "latents" names.
      splits: name -> first and last + 1: of the folder's images, of the generator's seeds, or
        of a file of latents that has no splits of its own.
      directory: of the built data set; empty for `WORKDIR/data`.
      annotation_batch_size: faces per pass through the networks that annotate them.
      num_threads: faces decoded at a time.
      prefetch: training batches held ready.
      image_size: side in pixels of the pictures of the sources "generator" and "latents"; 0 for the
        generator's own. (Of other sources the inversion encoder decides.)
      truncation: of its samples, in [0, 1]; 1 for none.
      mixed_share: share of its faces that mix two samples, in [0, 1].
      seed_list: .npy file of the seeds that may be used, or `pocket:NAME` for a packaged one; empty
        for all.
      latents: file of the source "latents", made by `python -m converters.latents`.
    """

    source: str
    limits: Mapping[str, int]
    folder: str
    splits: Mapping[str, tuple[int, int]]
    directory: str
    annotation_batch_size: int
    num_threads: int
    prefetch: int
    image_size: int = _NEUTRAL["image_size"]
    truncation: float = _NEUTRAL["truncation"]
    mixed_share: float = _NEUTRAL["mixed_share"]
    seed_list: str = _NEUTRAL["seed_list"]
    latents: str = _NEUTRAL["latents"]

    @property
    def brings_latents(self) -> bool:
        """Whether the faces come with their latents, so that no encoder has to invert them."""
        return self.source in WITH_LATENTS

    @property
    def has_originals(self) -> bool:
        """Whether the faces are pictures, and not what the generator makes of the latents."""
        return self.source == "folder" or (self.source == "latents" and bool(self.folder))

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
            image_size=group.whole("image_size", least=0, note=" (0: the generator's own)"),
            truncation=group.number("truncation", least=0, most=1, expected="in [0, 1]"),
            mixed_share=group.number("mixed_share", least=0, most=1, expected="in [0, 1]"),
            seed_list=group.text("seed_list"),
            latents=group.text("latents") if "latents" in group else "",
        )
        if settings.source == "folder" and not settings.folder:
            group.complain("folder", "the directory of the face images")
        if settings.source in ("folder", "generator") and "train" not in settings.splits:
            group.complain("splits", "a mapping that has the split train")
        if unknown := sorted(settings.limits.keys() - {*SPLITS, *settings.splits}):
            group.complain("limits", f"of the splits {', '.join(SPLITS)}, not {', '.join(unknown)}")
        if settings.source == "latents" and not settings.latents:
            group.complain("latents", "the file of latents")
        for key, neutral in _NEUTRAL.items():
            readers = [source for source, keys in _READ_BY.items() if key in keys]
            if settings.source not in readers and getattr(settings, key) not in (None, neutral):
                allowed = " or ".join(repr(source) for source in readers)
                group.complain(key, f"{neutral!r} unless the source is {allowed}")
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
