import jax
import numpy as np
import pytest
from flax import nnx

from sdflow_jax.models.conv_norm import PReLU
from sdflow_jax.models.irse import FaceBody, ImprovedResidualUnit, SqueezeExcitation


def test_unit_with_a_silent_branch_takes_every_second_pixel():
    unit = ImprovedResidualUnit(3, 3, 2, squeeze_excitation=True, rngs=nnx.Rngs(0))
    unit.eval()
    unit.output_norm.scale[...] = unit.output_norm.scale[...] * 0.0
    x = jax.random.normal(jax.random.key(0), (1, 4, 6, 3))
    np.testing.assert_array_equal(unit(x), x[:, ::2, ::2])


@pytest.mark.parametrize(
    ("features_out", "stride", "insightface", "projects"),
    [(4, 2, False, False), (8, 2, False, True), (4, 2, True, True), (4, 1, True, False)],
)
def test_only_insightface_projects_for_the_stride_alone(
    features_out, stride, insightface, projects
):
    def build():
        return ImprovedResidualUnit(
            4, features_out, stride, insightface=insightface, rngs=nnx.Rngs(0)
        )

    unit = nnx.eval_shape(build)
    assert (unit.projection is not None) == projects
    assert (unit.middle_norm is not None) == insightface


def test_squeeze_excitation_scales_channels_by_their_means():
    gate = SqueezeExcitation(32, rngs=nnx.Rngs(0))
    x = np.asarray(jax.random.normal(jax.random.key(0), (2, 3, 5, 32)))
    hidden = np.maximum(x.mean((1, 2)) @ np.asarray(gate.squeeze.kernel[...])[0, 0], 0.0)
    scale = 1 / (1 + np.exp(-hidden @ np.asarray(gate.excite.kernel[...])[0, 0]))
    np.testing.assert_allclose(gate(x), x * scale[:, None, None, :], atol=1e-6)


def test_prelu_scales_negative_inputs_per_channel():
    activation = PReLU(2)
    activation.slope[...] = np.array([0.5, -1.0], np.float32)
    x = np.array([[[[-2.0, -2.0], [3.0, 3.0]]]], np.float32)
    np.testing.assert_array_equal(activation(x), [[[[-1.0, 2.0], [3.0, 3.0]]]])


def test_body_asks_for_five_widths_and_four_stages():
    with pytest.raises(ValueError, match=r"5 positive widths .* got widths \[8, 8\]"):
        FaceBody([8, 8], [1, 1, 1, 1], rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"units \[1, 1, 0, 1\]"):
        FaceBody([8] * 5, [1, 1, 0, 1], rngs=nnx.Rngs(0))
