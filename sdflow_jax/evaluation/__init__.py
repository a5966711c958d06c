"""Measuring edits: preservation against editing accuracy, by judges unknown to training."""

from sdflow_jax.evaluation.curves import (
    Band,
    EditOutcomes,
    preservation_at,
    preservation_band,
)
from sdflow_jax.evaluation.errors import EvaluationError
from sdflow_jax.evaluation.evaluation_setup import EvaluationSetup
from sdflow_jax.evaluation.external_judges import ExternalJudges
from sdflow_jax.evaluation.judges import (
    JudgeOutputs,
    Judges,
    NetworkJudges,
    load_judges,
)
from sdflow_jax.evaluation.requests import Request, requests_for, target_variables
from sdflow_jax.evaluation.run import (
    STRENGTHS,
    EvaluationSettings,
    evaluate,
    results_directory,
)
from sdflow_jax.evaluation.source_faces import ShownFaces, SourceFaces, observe_faces
from sdflow_jax.evaluation.strength_sweep import sweep

__all__ = [
    "STRENGTHS",
    "Band",
    "EditOutcomes",
    "EvaluationError",
    "EvaluationSettings",
    "ExternalJudges",
    "NetworkJudges",
    "Judges",
    "Request",
    "ShownFaces",
    "SourceFaces",
    "JudgeOutputs",
    "EvaluationSetup",
    "evaluate",
    "load_judges",
    "observe_faces",
    "preservation_at",
    "preservation_band",
    "requests_for",
    "results_directory",
    "sweep",
    "target_variables",
]
