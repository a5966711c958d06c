"""What the shell's commands say, and how."""

import io
import sys


def print_any_name() -> None:
    """Let `print` write names of files that are no valid text, with escapes, where it would end the program."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def in_words(error: Exception) -> str:
    """An error as a line for people; of the system's, the file and the cause without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
