"""The config group `data` of a run that learns from labeled pictures."""

import dataclasses

from sdflow_jax.files.config_groups import Group


@dataclasses.dataclass(frozen=True)
class LabeledSettings:
    """Which pictures, what is known of them, and how they are read.

    Attributes:
      folder: the directory of the pictures.
      labels: file of the labels, as `read_labels` takes it.
      partition: file of the splits, as `read_partition` takes it; empty for a split by name.
      validation_share: of the pictures, without a partition; in (0, 1).
      age_column: of the labels, the column that holds years; empty for none.
      crop: (top, left, side) in pixels of the square that is cut out of every picture; empty where
        they are square.
      image_size: side in pixels to which it is brought.
      missing_images: "refuse" labels whose pictures are not there, or "leave_out".
      directory: where digests of the pictures are kept; empty for `WORKDIR/data`.
      num_threads: pictures decoded at a time.
      prefetch: batches held ready.
    """

    folder: str
    labels: str
    partition: str
    validation_share: float
    age_column: str
    crop: tuple[int, ...]
    image_size: int
    missing_images: str
    directory: str
    num_threads: int
    prefetch: int

    @classmethod
    def read(cls, group: Group) -> "LabeledSettings":
        """Read the group; its mistakes are the group's to tell."""
        crop = group.anything("crop") or ()
        settings = cls(
            folder=group.text("folder"),
            labels=group.text("labels"),
            partition=group.text("partition"),
            validation_share=group.number(
                "validation_share", above=0, below=1, expected="in (0, 1)"
            ),
            age_column=group.text("age_column"),
            crop=tuple(crop) if isinstance(crop, list | tuple) else (),
            image_size=group.whole("image_size", least=1),
            missing_images=group.choice("missing_images", ("refuse", "leave_out")),
            directory=group.text("directory"),
            num_threads=group.whole("num_threads", least=1),
            prefetch=group.whole("prefetch", least=1),
        )
        for key, what in (
            ("folder", "the directory of the face images"),
            ("labels", "the file of their labels"),
        ):
            if not getattr(settings, key):
                group.complain(key, what)
        is_box = [type(x) for x in settings.crop] == [int] * 3 and min(settings.crop) >= 0
        if crop and not (is_box and settings.crop[2]):
            group.complain("crop", "() or (top, left, side) in pixels")
        group.complain_of_unread()
        return settings
