"""A setup whose every number can be worked out by hand: latents are pixels, and judges read pixels.

A latent [2, 4] holds three attributes in its first row (-1 is off, 1 is on), and the face's
identity in its second. The image shows the same eight numbers in its first pixels.
"""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from sdflow_jax.evaluation import EvaluationSetup, JudgeOutputs, NetworkJudges
from sdflow_jax.images.pixels import to_bytes, to_signed
from sdflow_jax.models.face_identity import FaceIdentity

JUDGED = ("Eyeglasses", "Male", "Young")
EDITED = ("Young", "Eyeglasses")
COLUMNS = (2, 0)  # where EDITED stand among JUDGED


class PixelGenerator(nnx.Module):
    num_styles = 2

    def synthesize(self, w_plus):
        flat = w_plus.reshape(w_plus.shape[0], 8)
        return jnp.pad(flat, ((0, 0), (0, 40))).reshape(-1, 4, 4, 3)


class PixelClassifier(nnx.Module):
    def attribute_probabilities(self, images):
        return (images.reshape(images.shape[0], 48)[:, : len(JUDGED)] + 1) / 2


class PixelIdentity(nnx.Module):
    image_size = 4

    def __call__(self, images):
        identity = images.reshape(images.shape[0], 48)[:, 4:6]
        return identity / jnp.linalg.norm(identity, axis=1, keepdims=True)


class TurningEditor(nnx.Module):
    """Sets attributes exactly; turns the identity by 60 degrees per unit that the first moves."""

    attributes = EDITED
    reader = "pixels"

    def encode(self, w_plus, images):
        del images
        return w_plus, (w_plus[:, 0, np.asarray(COLUMNS)] + 1) / 2

    def decode(self, code, semantic_variables):
        read = (code[:, 0, np.asarray(COLUMNS)] + 1) / 2
        angle = jnp.pi / 3 * (semantic_variables - read)[:, 0]
        x, y = code[:, 1, 0], code[:, 1, 1]
        turned = jnp.stack(
            [x * jnp.cos(angle) - y * jnp.sin(angle), x * jnp.sin(angle) + y * jnp.cos(angle)], 1
        )
        edited = code.at[:, 1, :2].set(turned)
        return edited.at[:, 0, np.asarray(COLUMNS)].set(2 * semantic_variables - 1)


class LosingJudges:
    """On the host: the same judges, who find no face where Young is above 0.99."""

    attributes = JUDGED
    image_size = None

    def judge(self, images):
        probabilities, embeddings = map(np.array, plain_setup().judges.judge(jnp.asarray(images)))
        is_lost = probabilities[:, 2] > 0.99
        probabilities[is_lost], embeddings[is_lost] = np.nan, 0.0
        return JudgeOutputs(probabilities, embeddings)


def plain_setup():
    return EvaluationSetup(
        PixelGenerator(),
        NetworkJudges(PixelClassifier(), FaceIdentity(PixelIdentity()), attributes=JUDGED),
    )


def plain_faces(attributes):
    """Faces with these probabilities of `JUDGED`, [f, 3], as items of a data set."""
    attributes = np.asarray(attributes, np.float32)
    latents = np.zeros((len(attributes), 2, 4), np.float32)
    latents[:, 0, :3] = 2 * attributes - 1
    latents[:, 1, 0] = 0.6
    pixels = np.pad(latents.reshape(-1, 8), ((0, 0), (0, 40))).reshape(-1, 4, 4, 3)
    images = to_bytes(pixels)
    assert np.abs(np.asarray(to_signed(images)) - pixels).max() < 0.01
    return [
        {"image": image, "w_plus": w_plus, "predictions": row}
        for image, w_plus, row in zip(images, latents, attributes, strict=True)
    ]
