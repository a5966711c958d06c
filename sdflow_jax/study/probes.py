"""Probes: what can be told of attributes from a code, by networks that see the code alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float
from scipy.stats import rankdata

PROBES = {"linear": (), "nonlinear": (64,)}  # probe -> widths of its hidden layers
_HELD_OUT = 5  # every so many-th example decides when to stop
_NUM_STEPS = 300
_RATE, _DECAY = 3e-3, 1e-2


def probe_scores(
    train: Float[np.ndarray, "f d"],
    labels: Bool[np.ndarray, "f a"],
    test: Float[np.ndarray, "t d"],
    *,
    hidden_sizes: tuple[int, ...],
    seed: int = 0,
) -> Float[np.ndarray, "t a"]:
    """Scores of the test examples, higher where the label is more likely true, by a network for each label.

    Logistic regression without hidden layers, else a perceptron; both by AdamW on all examples at once, stopped
    where a fifth of the training examples, kept from the fit, are predicted best.

    Args:
      train: codes to learn from.
      labels: what is to be told from them.
      test: codes of other faces.
      hidden_sizes: widths of the hidden layers.
      seed: of the initial weights.
    """
    mean, spread = train.mean(0), train.std(0)
    scale = np.where(spread > 1e-6, spread, 1.0)
    train, test = ((x - mean) / scale for x in (train, test))
    is_held_out = np.arange(len(train)) % _HELD_OUT == 0
    keys = jax.random.split(jax.random.key(seed), labels.shape[1])
    fit = functools.partial(_fit, hidden_sizes=hidden_sizes)
    columns = jnp.asarray(labels.T, jnp.float32)
    kept, held_out = columns[:, ~is_held_out], columns[:, is_held_out]
    arrays = (train[~is_held_out], train[is_held_out], test)
    scores = jax.vmap(fit, (0, 0, 0, None, None, None))(keys, kept, held_out, *arrays)
    return np.asarray(scores).T


@functools.partial(jax.jit, static_argnames="hidden_sizes")
def _fit(
    key, labels, held_out_labels, train, held_out, test, *, hidden_sizes
) -> Float[Array, " t"]:
    sizes = (train.shape[1], *hidden_sizes, 1)
    layers = []
    for fan_in, width in zip(sizes[:-1], sizes[1:], strict=True):
        key, own = jax.random.split(key)
        kernel = jax.random.normal(own, (fan_in, width)) * jnp.sqrt(2.0 / fan_in)
        layers.append((kernel if hidden_sizes else 0.0 * kernel, jnp.zeros(width)))

    def scores(layers, x):
        for number, (kernel, bias) in enumerate(layers):
            x = jax.nn.relu(x) if number else x
            x = x @ kernel + bias[None]
        return x[:, 0]

    def loss(layers, x, y):
        return optax.sigmoid_binary_cross_entropy(scores(layers, x), y).mean()

    optimizer = optax.adamw(_RATE, weight_decay=_DECAY)

    def step(carry, _):
        layers, state, best, least = carry
        updates, state = optimizer.update(jax.grad(loss)(layers, train, labels), state, layers)
        layers = optax.apply_updates(layers, updates)
        missed = loss(layers, held_out, held_out_labels)
        best = jax.tree.map(lambda new, old: jnp.where(missed < least, new, old), layers, best)
        return (layers, state, best, jnp.minimum(missed, least)), None

    start = (layers, optimizer.init(layers), layers, jnp.inf)
    (_, _, best, _), _ = jax.lax.scan(step, start, length=_NUM_STEPS)
    return scores(best, test)


def area_under_roc(scores: Float[np.ndarray, " t"], labels: Bool[np.ndarray, " t"]) -> float:
    """How often a true example scores above a false one, ties counting half; one half is chance. NaN if
    either is missing.
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores)[labels].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def balanced_accuracy(scores: Float[np.ndarray, " t"], labels: Bool[np.ndarray, " t"]) -> float:
    """Mean of the shares of true and of false examples that are told right, scores above the threshold that
    calls as many true as are; one half is chance. NaN if either is missing.
    """
    if labels.all() or not labels.any():
        return float("nan")
    threshold = np.quantile(scores, 1.0 - labels.mean())
    called = scores > threshold
    return float((called[labels].mean() + (~called[~labels]).mean()) / 2)
