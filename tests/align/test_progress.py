import io

import pytest

from sdflow_jax.align.progress import Progress, in_words


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_file_gets_plain_lines_now_and_then():
    stream, clock = io.StringIO(), Clock()
    progress = Progress(1000, 200, "photos", stream=stream, clock=clock)
    for _ in range(100):
        clock.now += 1.0
        progress.advance("5 faces")
    progress.end()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3 and "\r" not in stream.getvalue()
    # 30 were done in 30 seconds, what was there before does not count.
    assert lines[0] == "230/1000 photos, 5 faces, 1 photos/s, 13 min left"


def test_a_terminal_gets_one_line_that_changes():
    stream, clock = io.StringIO(), Clock()
    stream.isatty = lambda: True
    progress = Progress(10, 0, "photos", stream=stream, clock=clock)
    for _ in range(2):
        clock.now += 1.0
        progress.advance()
    progress.end()
    assert stream.getvalue().count("\r") == 2 and stream.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (61, "1 min"), (3599, "1 h 0 min"), (12_000, "3 h 20 min")],
)
def test_times_are_told_in_words(seconds, words):
    assert in_words(seconds) == words
