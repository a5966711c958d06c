"""What a picture was made with: as a link, and inside the picture's file."""

import dataclasses
import io
import json
import math
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, PngImagePlugin

LOWEST, HIGHEST = -0.5, 1.5  # of a slider; 0 and 1 are the ends of what training covers
_KEY = "sdflow_jax"  # of the PNG's text chunk
_LARGEST_SEED = 2**32 - 1
_LONGEST_TEXT = 10_000


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is shown, as far as it can be told to somebody else.

    Attributes:
      seed: of the sampled face; None for a photo, which stays with whoever has it.
      targets: attribute name -> wanted value, of those that are edited.
    """

    seed: int | None = None
    targets: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def query(self) -> str:
        """As the query of a URL, without its question mark."""
        parts = {} if self.seed is None else {"seed": str(self.seed)}
        parts |= {name: f"{value:g}" for name, value in self.targets.items()}
        return urllib.parse.urlencode(parts)


def settings_of(
    parts: Mapping[str, Any], attributes: Sequence[str]
) -> tuple[Settings, tuple[str, ...]]:
    """Settings out of a link or a file, neither of which is trusted, and what is wrong with them.

    Args:
      parts: "seed" and names of attributes -> values as text or numbers. Names that belong to
        neither are not looked at: a link may carry what others have put there.
      attributes: those of the editor.

    Returns:
      The settings, without the parts that cannot be followed; and a line for each of these.
    """
    problems = []
    seed = None
    if "seed" in parts:
        try:
            seed = checked_seed(parts["seed"])
        except ValueError as error:
            problems.append(str(error))
    targets = {}
    for name in attributes:
        if name not in parts:
            continue
        value = _number(parts[name])
        if LOWEST <= value <= HIGHEST:
            targets[name] = value
        else:
            problems.append(f"{name} must be a number from {LOWEST:g} to {HIGHEST:g}")
    return Settings(seed, targets), tuple(problems)


def checked_seed(value: Any) -> int:
    """A seed as an int.

    Raises:
      ValueError: if it is no whole number of 32 bits.
    """
    number = _number(value)
    if not (number.is_integer() and 0 <= number <= _LARGEST_SEED):
        raise ValueError(f"a seed is a whole number from 0 to {_LARGEST_SEED}")
    return int(number)


def png_with(pixels: UInt8[np.ndarray, "h w 3"], notes: Mapping[str, Any]) -> bytes:
    """A PNG file's bytes, with notes that `notes_in` finds."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", "sdflow_jax")
    text.add_text(_KEY, json.dumps(notes))  # ASCII, as tEXt wants
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", pnginfo=text)
    return stream.getvalue()


def notes_in(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The notes that `png_with` has put into a picture's file; none if it holds none."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            # Not image.text, which decodes all pixels to look behind them too.
            text = image.info.get(_KEY, "")
        notes = json.loads(text) if 0 < len(text) <= _LONGEST_TEXT else {}
    except Exception:  # it may be any file: whether it is a picture is for its reader to say
        return {}
    return notes if isinstance(notes, dict) else {}


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan
