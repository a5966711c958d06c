import jax.numpy as jnp
import numpy as np
from flax import nnx

from sdflow_jax.evaluation import EvaluationSetup
from sdflow_jax.evaluation.strength_sweep import edit_faces, edited_images
from tests.evaluation.plain_setup import TurningEditor, plain_faces, plain_setup


class Sizes(nnx.Module):
    """Faces of one value; can stop at 4 pixels, and at 2, where the face is no picture."""

    num_styles, resolution, picture_sizes = 2, 8, (4, 8)

    def synthesize(self, w_plus, *, resolution=8):
        return jnp.broadcast_to(w_plus[:, None, :1, :3], (len(w_plus), resolution, resolution, 3))


class Looking:
    """Judges that look at so many pixels, and remember what they were shown."""

    attributes = ("Young",)

    def __init__(self, image_size):
        self.image_size = image_size
        self.shown = []

    def judge(self, images):
        self.shown.append(images.shape[1])
        return plain_setup().judges.judge(images[:, :4, :4])


def test_judges_are_shown_no_more_than_they_look_at_and_people_whole_faces():
    w_plus = np.stack([face["w_plus"] for face in plain_faces([[0.0, 1.0, 0.0]] * 3)])
    targets = np.full((3, 2), 0.5, np.float32)
    for image_size, seen in ((None, 8), (2, 4), (4, 4), (5, 8), (16, 8)):
        judges = Looking(image_size)
        setup = EvaluationSetup(Sizes(), judges)
        assert edit_faces(setup, TurningEditor(), w_plus, targets)[0].shape[1] == seen
        edited = edited_images(setup, TurningEditor(), w_plus, targets, batch_size=3)
        assert edited.images.shape == (3, 8, 8, 3) and judges.shown == [seen]
