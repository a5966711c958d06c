import struct

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from sdflow_jax.training.event_file import EventFile
from tests.full_disk import full_disk


def _events(directory):
    (file,) = directory.iterdir()
    content, events = file.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])  # then a checksum, the event, another
        events.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return events


def test_what_is_recorded_can_be_read(tmp_path):
    events = EventFile(tmp_path / "board", begin=7)
    events.add_scalar("training/loss", 0.25, 8)
    events.add_image("samples", np.zeros((4, 6, 3), np.uint8), 9)
    events.close()
    version, start, scalar, image = _events(tmp_path / "board")
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (7, SessionLog.START)
    assert (scalar.step, scalar.summary.value[0].tag) == (8, "training/loss")
    assert scalar.summary.value[0].simple_value == 0.25 and scalar.wall_time > 1e9
    assert (image.summary.value[0].image.height, image.summary.value[0].image.width) == (4, 6)


def test_a_full_disk_is_named_and_nobody_waits(tmp_path):
    events = EventFile(tmp_path / "board", begin=1)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with full_disk(), pytest.raises(OSError, match="File too large: .*board"):
        events.add_image("samples", picture, 1)
    events.close()
