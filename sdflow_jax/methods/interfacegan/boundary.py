"""InterFaceGAN: an attribute is a hyperplane in latent space, and editing moves along its normal.

Shen, Gu, Tang and Zhou, "Interpreting the Latent Space of GANs for Semantic Face Editing" (CVPR
2020), section 3; upstream `utils/manipulator.py`.
"""

import dataclasses
import os

import numpy as np
from jaxtyping import Array, Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sdflow_jax.files.atomic import write_atomic
from sdflow_jax.methods.interfacegan.linear_svm import fit_linear_svm

FORMAT = "sdflow_jax.boundary/1"

# Finer than any use of a direction, and within reach of float64 where the styles of a face are nearly equal.
_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class Boundary:
    """The hyperplane `normal . w + offset = 0`; the attribute is present on the positive side.

    Attributes:
      normal: unit normal, [d], float32.
      offset: in units of w, so that `normal . w + offset` is the signed distance. Upstream keeps
        the normal only: a converted boundary has offset 0.
    """

    normal: Float[np.ndarray, "d"]
    offset: float = 0.0

    def __post_init__(self):
        length = np.linalg.norm(self.normal)
        if np.ndim(self.normal) != 1 or not abs(length - 1) < 1e-4:
            raise ValueError(
                f"expected a unit normal of shape (d,), got shape {np.shape(self.normal)}"
                f" and length {length}"
            )

    def distance(self, latents: Float[Array, "b d"]) -> Float[Array, "b"]:
        """Signed distance of each latent to the hyperplane."""
        return latents @ self.normal + self.offset

    def move(
        self, latents: Float[Array, "*b d"], distance: float | Float[Array, "#*b"]
    ) -> Float[Array, "*b d"]:
        """`latents + distance * normal`: each row is moved; use it for W+ codes."""
        distance = np.asarray(distance) if isinstance(distance, (int, float)) else distance
        return latents + distance[..., None] * self.normal.reshape(
            (1,) * (latents.ndim - 1) + (-1,)
        )


@dataclasses.dataclass(frozen=True)
class Split:
    """Which examples train a boundary and which test it, as indices with labels +1 and -1.

    `remaining` are the examples between the chosen extremes, labelled by the middle of the range of
    scores.
    """

    train: tuple[Int[np.ndarray, "t"], Int[np.ndarray, "t"]]
    validation: tuple[Int[np.ndarray, "v"], Int[np.ndarray, "v"]]
    remaining: tuple[Int[np.ndarray, "r"], Int[np.ndarray, "r"]]


def split_extremes(
    scores: Float[np.ndarray, "n"],
    permutations: tuple[Int[np.ndarray, "k"], Int[np.ndarray, "k"]] | np.random.Generator,
    *,
    chosen: int | float = 0.02,
    train_share: float = 0.7,
    invalid_score: float | None = None,
) -> Split:
    """Choose the highest and the lowest scores and split both into training and validation.

    Args:
      scores: one attribute score an example; higher means more of the attribute.
      permutations: the order in which the positive and the negative examples are dealt out, or a
        generator.
      chosen: how many examples a side; a float is a share of all, at most one half.
      train_share: the share of them that trains.
      invalid_score: examples with exactly this score are left out.

    Raises:
      ValueError: if fewer than one example a side would train.
    """
    scores = np.asarray(scores)
    if scores.ndim != 1:
        raise ValueError(f"expected one score an example, shape (n,), got {scores.shape}")
    valid = (
        np.arange(len(scores)) if invalid_score is None else np.flatnonzero(scores != invalid_score)
    )
    order = valid[np.argsort(scores[valid])[::-1]]
    count = int(len(order) * chosen) if isinstance(chosen, float) else int(chosen)
    count = min(count, len(order) // 2)
    num_train = int(count * train_share)
    if num_train < 1:
        raise ValueError(
            f"expected at least one training example a side, got {num_train}"
            f" of {len(order)} valid scores"
        )
    if isinstance(permutations, np.random.Generator):
        permutations = permutations.permutation(count), permutations.permutation(count)
    positive, negative = (
        order[:count][permutations[0]],
        order[len(order) - count :][permutations[1]],
    )
    middle = order[count : len(order) - count]
    threshold = (scores[order[0]] + scores[order[-1]]) / 2
    return Split(
        train=_labelled(positive[:num_train], negative[:num_train]),
        validation=_labelled(positive[num_train:], negative[num_train:]),
        remaining=(middle, np.where(scores[middle] < threshold, -1, 1)),
    )


def _labelled(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([positive, negative]), np.repeat([1, -1], [len(positive), len(negative)])


def fit_boundary(
    latents: Float[np.ndarray, "n d"], split: Split, *, penalty: float = 1.0
) -> Boundary:
    """The soft-margin separating hyperplane of the training part of `split`.

    Upstream's solver (libsvm at its default tolerance) stops early; this one is tight, so normals
    agree to a cosine of about 0.999995.

    Args:
      latents: all examples, [n, d].
      split: from `split_extremes`.
      penalty: the support vector machine's C.
    """
    indices, labels = split.train
    w, b = fit_linear_svm(
        np.asarray(latents)[indices], labels, penalty=penalty, tolerance=_TOLERANCE
    )
    length = float(np.linalg.norm(w))
    if length == 0:
        raise ValueError(
            "the positive and the negative examples are the same; no boundary separates them"
        )
    return Boundary((w / length).astype(np.float32), b / length)


def count_correct(
    boundary: Boundary, latents: Float[np.ndarray, "n d"], part: tuple[np.ndarray, np.ndarray]
) -> int:
    """How many examples of one part of a split lie on their side of the boundary."""
    indices, labels = part
    return int(np.sum((boundary.distance(np.asarray(latents)[indices]) > 0) == (labels > 0)))


def project_boundary(
    primal: Float[np.ndarray, "d"], *conditions: Float[np.ndarray, "d"]
) -> Float[np.ndarray, "d"]:
    """The unit direction closest to `primal` that leaves every condition's attribute alone (paper,
    equation 5).

    Raises:
      ValueError: if `primal` lies in the span of the conditions.
    """
    if not conditions:
        return primal
    basis = np.stack(conditions).astype(np.float64)  # [k, d]
    coefficients, *_ = np.linalg.lstsq(basis.T, primal.astype(np.float64), rcond=None)
    remainder = primal - basis.T @ coefficients
    length = np.linalg.norm(remainder)
    if length < 1e-6 * np.linalg.norm(primal):
        raise ValueError(
            "the boundary lies in the span of the conditions; editing it without them is impossible"
        )
    return (remainder / length).astype(primal.dtype)


def save_boundary(path: str | os.PathLike[str], boundary: Boundary) -> None:
    """Write a boundary file, atomically."""
    arrays = {
        "normal": np.asarray(boundary.normal, np.float32),
        "offset": np.asarray(boundary.offset, np.float64),
    }
    content = save(arrays, metadata={"format": FORMAT})
    write_atomic(path, lambda stream: stream.write(content))


def load_boundary(path: str | os.PathLike[str]) -> Boundary:
    """Read what `save_boundary` wrote.

    Raises:
      ValueError: if the file is missing or no boundary file.
    """
    if not os.path.isfile(path):
        raise ValueError(f"{path}: no such boundary file")
    try:
        with safe_open(path, framework="numpy") as handle:
            if (handle.metadata() or {}).get("format") != FORMAT:
                raise ValueError(
                    f"{path}: expected a file of format {FORMAT!r}; convert a .npy with converters"
                )
            return Boundary(handle.get_tensor("normal"), float(handle.get_tensor("offset")))
    except SafetensorError as error:
        raise ValueError(f"{path}: not a readable boundary file ({error})") from error
