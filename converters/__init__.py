"""Reads PyTorch checkpoints without PyTorch and turns them into network files."""

from converters.check import check_keys
from converters.errors import CheckpointError
from converters.state_dict import find_state_dict, is_state_dict, select_prefix, strip_prefix
from converters.torch_reader import read_checkpoint

__all__ = [
    "CheckpointError",
    "check_keys",
    "find_state_dict",
    "is_state_dict",
    "read_checkpoint",
    "select_prefix",
    "strip_prefix",
]
