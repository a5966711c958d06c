"""A few hundred mutated files for each reader; `python -m reliability` reads a hundred thousand."""

import subprocess
import sys

import pytest

from reliability import fuzzing
from reliability.parts import Context
from reliability.readers import READERS

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow's, of damaged notes

COUNTS = {
    "fuzz-checkpoints": 1500,
    "fuzz-ir": 300,
    "fuzz-images": 400,
    "fuzz-networks": 60,
    "fuzz-npy": 500,
}


@pytest.mark.parametrize("name", READERS)
def test_mutated_files_are_read_or_refused(name, tmp_path):
    reader, context = READERS[name], Context(name, tmp_path, seed=1, scale=1)
    sources = reader.sources(tmp_path)
    read = refused = 0
    for index in range(COUNTS[name]):
        try:
            fuzzing.attempt(reader, sources, index, context, tmp_path)
            read += 1
        except reader.error:
            refused += 1
    assert read >= 2 and refused >= 20  # both happen, so that the mutations get somewhere


# In a process of its own: this one may have threads, which a fork would not bring along.
PROGRAM = """
import pathlib, sys
from reliability import fuzzing
from reliability.parts import Context

def attempt(content, rng, directory):
    count = directory / "count"
    number = len(count.read_bytes()) if count.exists() else 0
    count.write_bytes(bytes(number + 1))
    if number == 4:  # after three that warm up
        exec(compile("1", "<a file>", "exec"))
    if number == 5:
        while True:
            pass
    if number == 10:
        bytearray(b"x" * 100_000_000)

fuzzing.TIME_LIMIT_S, fuzzing.MEMORY_LIMIT_KB = 1.0, 50_000
reader = fuzzing.Reader(1, ValueError, lambda directory: [b""], attempt)
row = fuzzing.fuzz(reader, 8, Context("fuzz-it", pathlib.Path(sys.argv[1]), seed=0, scale=1))
print(row.injected, row.survived, *row.failures, sep="\\n")
"""


def test_execution_and_hanging_and_memory_are_noticed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    injected, survived, *failures = done.stdout.splitlines()
    assert (injected, survived) == ("8", "5"), failures
    for failure, words in zip(failures, ("did exec", "no end within", "took"), strict=True):
        assert words in failure
