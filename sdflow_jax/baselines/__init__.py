"""Earlier latent editors that SDFlow is compared with."""

from sdflow_jax.baselines.interfacegan import Boundary, fit_boundary, project_boundary
from sdflow_jax.baselines.latent_transformer import LatentClassifier, LatentTransformer

__all__ = ["Boundary", "LatentClassifier", "LatentTransformer", "fit_boundary", "project_boundary"]
