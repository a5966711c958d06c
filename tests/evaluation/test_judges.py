import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdflow_jax.evaluation import ExternalJudges, JudgeOutputs, NetworkJudges, load_judges
from sdflow_jax.evaluation.published_readers import FaceReadings
from sdflow_jax.files import networks
from sdflow_jax.models.face_identity import FFHQ_FACE_CROP, FaceIdentity
from tests.filled_networks import filled_arrays

CLASSIFIER = {
    "depth": 18,
    "num_attributes": 2,
    "num_age_thresholds": 3,
    "width": 2,
    "stem_pool": False,
    "head_sizes": [],
}


class Brightness(nnx.Module):
    """Mean and side of what it is shown."""

    def __call__(self, images):
        mean = images.mean((1, 2, 3))
        return jnp.stack([mean, jnp.full_like(mean, images.shape[1])], 1)

    attribute_probabilities = __call__


def test_each_judge_sees_its_own_part_and_size():
    images = np.full((1, 256, 256, 3), -1.0, np.float32)
    images[:, 35:223, 32:220] = 0.5
    judges = NetworkJudges(
        Brightness(),
        FaceIdentity(Brightness(), image_size=112, crop=FFHQ_FACE_CROP),
        attributes=("A",),
        classifier_size=64,
    )
    assert judges.image_size == 153  # of which the identity encoder's part is 112 pixels
    outputs = judges(images)
    assert outputs.probabilities.shape == (1, 1)  # columns beyond the named attributes are left out
    np.testing.assert_allclose(outputs.probabilities[0, 0], images.mean(), atol=0.01)
    np.testing.assert_allclose(outputs.embeddings[0], [0.5, 112], atol=1e-5)


@pytest.mark.parametrize(
    ("size", "notes", "crop"),
    [
        (112, {}, FFHQ_FACE_CROP),
        (32, {}, None),
        (112, {"crop": "0.25,0.25,0.5"}, (0.25, 0.25, 0.5)),
    ],
)
def test_crop_comes_from_the_file_or_the_input_size(tmp_path, size, notes, crop):
    arguments = {"image_size": size, "embedding_dim": 2, "widths": [2] * 5, "units": [1] * 4}
    files = tmp_path / "classifier.safetensors", tmp_path / "identity.safetensors"
    kind = "AttributeClassifier"
    named = {"attributes": "A,B"}
    networks.save_arrays(files[0], kind, CLASSIFIER, filled_arrays(kind, CLASSIFIER), notes=named)
    kind = "IdentityEncoder"
    networks.save_arrays(files[1], kind, arguments, filled_arrays(kind, arguments), notes=notes)
    judges = load_judges(*files, image_size=64)
    assert judges.attributes == ("A", "B")
    assert (judges.classifier_size, judges.identity.image_size) == (64, size)
    assert judges.identity.crop == crop


def test_identity_encoder_of_another_kind_is_refused(tmp_path):
    file = tmp_path / "classifier.safetensors"
    kind = "AttributeClassifier"
    arrays = filled_arrays(kind, CLASSIFIER)
    networks.save_arrays(file, kind, CLASSIFIER, arrays, notes={"attributes": "A,B"})
    with pytest.raises(networks.NetworkFileError, match="IdentityEncoder or IResNet"):
        load_judges(file, file, image_size=64)


def test_external_judges_read_nothing_where_they_find_no_face(monkeypatch):
    def read(images):
        readings = FaceReadings.nothing(len(images))
        readings.male[0], readings.age[0], readings.embedding[0] = 0.9, 20.0, 1.0
        return readings

    monkeypatch.setattr("sdflow_jax.evaluation.external_judges.ReadersPool", lambda: read)
    outputs = ExternalJudges().judge(np.zeros((2, 256, 256, 3), np.float32))
    assert outputs.is_read.tolist() == [True, False]
    assert (outputs.probabilities[0] > 0.5).all() and np.isnan(outputs.probabilities[1]).all()
    np.testing.assert_allclose(np.linalg.norm(outputs.embeddings, axis=1), [1, 0], rtol=1e-5)


def test_what_is_not_read_is_decided_neither_way():
    before = JudgeOutputs(np.array([[0.9, 0.1]] * 2), np.eye(2))
    after = JudgeOutputs(np.array([[0.1, 0.2], [np.nan, np.nan]]), np.eye(2))
    assert after.decides_against(before).tolist() == [[True, False], [False, False]]
    assert after.decides_as(before).tolist() == [[False, True], [False, False]]
