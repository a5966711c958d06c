"""What InterFaceGAN alone reads of a config."""

import dataclasses

from sdflow_jax.files.config_groups import Group


@dataclasses.dataclass(frozen=True)
class InterFaceGANSettings:
    """How the boundaries are fitted; the config group `interfacegan`.

    Attributes:
      extremes: share of the training faces, at either end of the classifier's scores, that take
        part; at most one half.
      train_share: share of those that fit the boundary; the rest measures it.
      penalty: the support vector machine's C.
      conditional: whether an edit stays at the same distance from the other attributes' boundaries
        (Shen et al. 2020, equation 5).
    """

    extremes: float
    train_share: float
    penalty: float
    conditional: bool

    @classmethod
    def read(cls, config: Group) -> "InterFaceGANSettings":
        """Read the group of a config."""
        group = config.group("interfacegan")
        settings = cls(
            extremes=group.number("extremes", above=0, most=0.5, expected="in (0, 0.5]"),
            train_share=group.number("train_share", above=0, below=1, expected="in (0, 1)"),
            penalty=group.number("penalty", above=0, expected="above 0"),
            conditional=group.flag("conditional"),
        )
        group.complain_of_unread()
        return settings
