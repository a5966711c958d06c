import numpy as np

from sdflow_jax.data.training_latents import TrainingLatents


def correlated_latents() -> TrainingLatents:
    """Codes of 3 x 4; the first two numbers of their mean style decide two correlated attributes."""
    random = np.random.default_rng(0)
    w_plus = random.standard_normal((400, 3, 4)).astype(np.float32)
    mean = 3**0.5 * w_plus.mean(1)
    scores = np.stack([mean[:, 0] + 0.7 * mean[:, 1], mean[:, 1]], 1)
    return TrainingLatents(w_plus, 1 / (1 + np.exp(-4 * scores)), ("Male", "Young"))
