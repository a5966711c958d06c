"""What an installed package does not hold: the programs and configs that stand beside it."""

import pathlib

ROOT = pathlib.Path(__file__).parents[2]


class NoCheckoutError(FileNotFoundError):
    """Something needs a file that stands beside the package; the message says where it is."""


def beside_package(name: str, *, root: pathlib.Path = ROOT) -> pathlib.Path:
    """A file of the checkout, e.g. "train.py" or "configs/pocket.py".

    Raises:
      NoCheckoutError: if the package is installed, and not used from its checkout.
    """
    path = root / name
    if not path.is_file():
        raise NoCheckoutError(
            f"{name} is not beside the installed package: train.py, evaluate.py and configs/ come"
            " with the repository and its source distribution (sdflow_jax-VERSION.tar.gz); run this"
            " there, after `pip install --editable .`"
        )
    return path
