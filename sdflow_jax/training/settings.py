"""The config groups `training` and `optimizer`, for methods that train by steps."""

import dataclasses

from sdflow_jax.files.config_groups import Group
from sdflow_jax.training.loop import Schedule


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """Adam, and how its rate rises and falls.

    Attributes:
      learning_rate: the highest rate.
      b1: decay of the gradient's average.
      b2: decay of the squared gradient's average.
      schedule: "constant", or "cosine" for a decay to 0 at `decay_steps`.
      warmup_steps: steps of linear rise from 0.
      decay_steps: where the cosine ends, in steps from the beginning.
      gradient_clip: largest norm of the gradient; 0 clips nothing.
    """

    learning_rate: float
    b1: float
    b2: float
    schedule: str
    warmup_steps: int
    decay_steps: int
    gradient_clip: float

    @classmethod
    def read(cls, group: Group, *, num_steps: int | None) -> "OptimizerSettings":
        """Read the group, which may hold more.

        Args:
          group: the config group `optimizer`.
          num_steps: length of the training, which the cosine must outlast; None if it is unknown.
        """
        share = {"least": 0.0, "below": 1.0}
        settings = cls(
            learning_rate=group.number("learning_rate", above=0, expected="above 0"),
            b1=group.number("b1", **share, expected="in [0, 1)"),
            b2=group.number("b2", **share, expected="in [0, 1)"),
            schedule=group.choice("schedule", ("constant", "cosine")),
            warmup_steps=group.whole("warmup_steps", least=0),
            decay_steps=group.whole("decay_steps", least=0),
            gradient_clip=group.number(
                "gradient_clip", least=0, expected="at least 0 (0 clips nothing)"
            ),
        )
        settings.check_decay(group, num_steps)
        return settings

    def check_decay(
        self, group: Group, num_steps: int | None, key: str = "training.num_steps"
    ) -> None:
        """Complain if a training of this length would go on at a rate of 0.

        Args:
          group: the config group `optimizer`.
          num_steps: length of the training; None if it is unknown.
          key: of the config, that tells the length.
        """
        if self.schedule != "cosine" or None in (self.warmup_steps, self.decay_steps, num_steps):
            return
        least = max(self.warmup_steps + 1, num_steps)
        if self.decay_steps < least:
            group.complain(
                "decay_steps",
                f"at least {least}: the cosine begins after optimizer.warmup_steps and ends at a"
                f" rate of 0, before which {key} must be done",
            )


def read_average_decay(group: Group) -> float:
    """Read the decay of the moving average of the weights, in [0, 1), of the config group `optimizer`.

    The average begins at the initial weights, which after t steps have a share of decay ** t in it: 0.999 wants
    several thousand steps.
    """
    return group.number("ema_decay", least=0, below=1, expected="in [0, 1) (0 averages nothing)")


def read_schedule(group: Group) -> Schedule:
    """Read the schedule of the config group `training`, which may hold more."""
    names = ("num_steps", "log_every", "checkpoint_every", "keep_checkpoints")
    return Schedule(**{name: group.whole(name, least=1) for name in names})


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """Training by steps of gradient descent.

    Attributes:
      schedule: how long it goes, and when it measures and saves.
      batch_size: faces per step, over all devices.
      sample_every: interval of pictures in steps; 0 makes none.
      num_sample_faces: faces in a picture.
      optimizer: the update rule.
    """

    schedule: Schedule
    batch_size: int
    sample_every: int
    num_sample_faces: int
    optimizer: OptimizerSettings

    @classmethod
    def read(cls, config: Group) -> "TrainingSettings":
        """Read the groups `training` and `optimizer` of a config, which may hold more."""
        group = config.group("training")
        schedule = read_schedule(group)
        return cls(
            schedule=schedule,
            batch_size=group.whole("batch_size", least=1),
            sample_every=group.whole("sample_every", least=0, note=" (0 makes none)"),
            num_sample_faces=group.whole("num_sample_faces", least=1),
            optimizer=OptimizerSettings.read(
                config.group("optimizer"), num_steps=schedule.num_steps
            ),
        )
