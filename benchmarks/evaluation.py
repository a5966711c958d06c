"""Evaluation: faces edited and judged, with codes that are encoded once for all strengths."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp

from benchmarks.timing import Comparison, compare
from sdflow_jax.evaluation.evaluation_setup import EvaluationSetup
from sdflow_jax.evaluation.judges import load_judges
from sdflow_jax.evaluation.strength_sweep import edit_faces
from sdflow_jax.files import networks
from sdflow_jax.methods.sdflow.editing import FlowEditing
from sdflow_jax.models.synthesis import faces_of

_BATCH, _SIZE = 32, 64

_encode = jax.jit(lambda method, w_plus, images: method.encode(w_plus, images))


def comparisons(*, is_large: bool) -> Iterator[Comparison]:
    """Compare in the pocket world; the ffhq world's networks are the user's to bring."""
    if is_large:
        return
    generator = networks.load_network("pocket:generator")
    method = FlowEditing.load("pocket:flow", "pocket:semantic_encoder")
    judges = load_judges(
        "pocket:evaluation_classifier", "pocket:identity_encoder", image_size=_SIZE
    )
    setup = EvaluationSetup(generator, judges)
    z = jax.random.normal(jax.random.key(0), (_BATCH, generator.style_dim))
    w_plus = generator.truncate(generator.map(z), 0.9)[:, None]
    images = faces_of(generator, w_plus, _SIZE)
    code, semantic_variables = _encode(method, w_plus, images)
    targets = jnp.clip(1 - semantic_variables, 0, 1)

    def judged(code):
        faces, is_finite = edit_faces(setup, method, code, targets)
        return judges.judge(faces), is_finite

    yield compare(
        f"edit and judge {_BATCH} faces at one strength",
        ("codes encoded once for all", lambda: judged(code)),
        ("encoded for each", lambda: judged(_encode(method, w_plus, images)[0])),
        faces=_BATCH,
    )
