import io

import pytest

from sdflow_jax.files.bars import Bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def bar_on(monkeypatch):
    """What a bar of three steps, two of them done, writes to a stream."""

    def run(stream, **options):
        monkeypatch.setattr("sys.stderr", stream)
        with Bar(total=3, desc="faces", **options) as bar:
            bar.update(2)
        return stream.getvalue()

    return run


def test_a_pipe_gets_lines(bar_on):
    written = bar_on(io.StringIO())
    assert "\r" not in written
    first, last = written.splitlines()
    assert "0/3" in first and "2/3" in last and last.startswith("faces")


def test_a_bar_that_waits_says_nothing_of_short_work(bar_on):
    assert bar_on(io.StringIO(), delay=60) == ""


def test_a_terminal_gets_one_line_that_changes(bar_on):
    written = bar_on(Terminal())
    assert written.count("\r") > 1 and written.count("\n") == 1


def test_a_line_between_is_a_line(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with Bar(total=3):
        Bar.write("skipped", file=stream)
    assert "skipped\n" in stream.getvalue() and "\r" not in stream.getvalue()


def test_the_next_bar_has_the_place_of_the_last(bar_on):
    bar_on(io.StringIO())
    assert Bar(total=1, delay=60).pos == 0
