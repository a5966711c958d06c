"""What the config group `data` must say."""

from collections.abc import Mapping
from typing import Any

from sdflow_jax.data.sources import SOURCES
from sdflow_jax.files.complaints import Complaints


def check_data(found: Complaints, data: Mapping[str, Any]) -> None:
    """Complain of values that cannot be meant."""
    found.require(data["source"] in SOURCES, "data.source", " or ".join(map(repr, SOURCES)))
    if data["source"] == "folder":
        found.require(bool(data["folder"]), "data.folder", "the directory of the face images")
        found.require(
            "train" in data["splits"], "data.splits", "a mapping that has the split train"
        )
    for name in ("annotation_batch_size", "num_threads", "prefetch"):
        found.require(data[name] >= 1, f"data.{name}", "at least 1")
