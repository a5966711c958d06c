"""What the shell's commands say of errors."""


def in_words(error: Exception) -> str:
    """An error as a line for people; of the system's, the file and the cause without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
