"""What the Latent Transformer alone reads of a config."""

import dataclasses
from collections.abc import Mapping

from sdflow_jax.files.config_groups import Group
from sdflow_jax.methods.latent_transformer.losses import TERMS
from sdflow_jax.training.settings import TrainingSettings


@dataclasses.dataclass(frozen=True)
class LatentTransformerSettings:
    """How the latent classifier and the transformers are trained.

    Attributes:
      training: of both stages; the schedule's length is the transformers'.
      classifier_hidden_sizes: widths of the latent classifier's inner layers.
      classifier_steps: length of the latent classifier's training.
      weights: of the transformers' losses.
    """

    training: TrainingSettings
    classifier_hidden_sizes: tuple[int, ...]
    classifier_steps: int
    weights: Mapping[str, float]

    @classmethod
    def read(cls, config: Group) -> "LatentTransformerSettings":
        """Read the groups `latent_classifier`, `latent_transformer`, `training` and `optimizer`."""
        classifier, transformer = (
            config.group(name) for name in ("latent_classifier", "latent_transformer")
        )
        weights = {
            name: transformer.number(name, least=0, expected="a weight of at least 0")
            for name in TERMS
        }
        if weights["classification"] == 0:
            transformer.complain("classification", "above 0: nothing else asks for an edit")
        settings = cls(
            training=TrainingSettings.read(config),
            classifier_hidden_sizes=classifier.wholes("hidden_sizes"),
            classifier_steps=classifier.whole("num_steps", least=1),
            weights=weights,
        )
        settings.training.optimizer.check_decay(
            config.group("optimizer"), settings.classifier_steps, "latent_classifier.num_steps"
        )
        for group in (classifier, transformer):
            group.complain_of_unread()
        return settings
