"""Mutated files: read or refused with one error, at once, in little memory, and nothing is run.

The input number I of a reader is the same for a seed everywhere, so that a number is all that is
needed to see a failure again.
"""

import dataclasses
import json
import mmap
import os
import pathlib
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence

from reliability.forked import Forked
from reliability.parts import Context, Row

TIME_LIMIT_S = 5.0  # of processor time, for one input
MEMORY_LIMIT_KB = 2**20  # above what the process had before the first mutated input

# What no reader has any business to do. `import` is watched by `exec`: by where its code comes from.
_FORBIDDEN = (
    *("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn"),
    *("subprocess.Popen", "pty.spawn", "pickle.find_class", "marshal.loads", "ctypes.dlopen"),
    *(
        "socket.connect",
        "socket.bind",
        "urllib.Request",
        "webbrowser.open",
        "os.remove",
        "os.rename",
    ),
)


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader, and how harm is done to what it reads.

    Attributes:
      inputs: full number of mutated inputs.
      error: the one exception that it may raise.
      sources: writes good files into an empty directory and returns what `attempt` takes.
      attempt: reads a source after harm was done to it, through a file of that directory.
    """

    inputs: int
    error: type[Exception]
    sources: Callable[[pathlib.Path], Sequence[bytes]]
    attempt: Callable[[bytes, random.Random, pathlib.Path], object]


def run(context: Context) -> list[Row]:
    """Fuzz one reader, named as the part is."""
    from reliability.readers import READERS  # which import the product

    reader = READERS[context.name]
    return [fuzz(reader, context.count(reader.inputs), context)]


def fuzz(reader: Reader, count: int, context: Context) -> Row:
    """Read so many mutated inputs, in processes that are ended where they hang."""
    sources = reader.sources(_folder(context, "sources"))
    report = context.directory / "report.jsonl"
    report.touch()
    progress = mmap.mmap(-1, 8)
    failures: dict[int, str] = {}
    first = 0
    while first < count:
        progress[:8] = first.to_bytes(8, "little")
        process = Forked(
            lambda first=first: _read_all(reader, sources, first, count, context, progress, report),
            context.directory / "log",
        )
        _watch(process, progress)
        if process.status == 0:
            break
        at = int.from_bytes(progress[:8], "little")
        hung = process.status == -signal.SIGKILL
        why = f"no end within {TIME_LIMIT_S:g} s" if hung else f"ended with {process.status}"
        failures[at] = why
        first = at + 1
    told = [json.loads(line) for line in report.read_text().splitlines()]
    failures |= {entry["input"]: entry["failure"] for entry in told if "failure" in entry}
    sums = [entry for entry in told if "read" in entry]
    remark = (
        f"{sum(x['read'] for x in sums)} read, {sum(x['refused'] for x in sums)} refused;"
        f" slowest {max((x['slowest'] for x in sums), default=0):.2f} s,"
        f" memory +{max((x['memory_kb'] for x in sums), default=0) / 1024:.0f} MB; seed {context.seed}"
    )
    sentences = [f"input {i} of seed {context.seed}: {why}" for i, why in sorted(failures.items())]
    return Row(
        f"mutated input, {context.name[5:]}", count, count - len(failures), remark, sentences
    )


def attempt(reader: Reader, sources, index: int, context: Context, directory: pathlib.Path) -> None:
    """Read mutated input number `index`."""
    rng = random.Random(f"{context.seed} {context.name} {index}")
    reader.attempt(rng.choice(sources), rng, directory)


def _folder(context: Context, name: str) -> pathlib.Path:
    folder = context.directory / name
    folder.mkdir(exist_ok=True)
    return folder


def _watch(process: Forked, progress: mmap.mmap) -> None:
    """Kill a process that computes too long on one input; C code hears no alarm."""
    last, since = -1, 0.0

    def hangs() -> bool:
        nonlocal last, since
        at = int.from_bytes(progress[:8], "little")
        try:
            used = _processor_seconds(process.pid)
        except (OSError, IndexError):  # it has just ended
            return False
        if at != last:
            last, since = at, used
        # The process measures itself; only if it cannot is it ended from here.
        return used - since > 2 * TIME_LIMIT_S

    if process.wait_until(hangs, limit_s=3600):
        process.kill()


def _processor_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read_all(reader, sources, first, count, context, progress, report) -> None:
    directory = _folder(context, "inputs")
    _warm_up(reader, sources, directory)
    caught: list[str] = []
    is_watched = False

    def audit(event: str, arguments: tuple) -> None:
        if is_watched and _is_forbidden(event, arguments):
            caught.append(f"{event} {str(arguments)[:80]}")

    sys.addaudithook(audit)
    beginning = _memory_kb()
    resource.setrlimit(resource.RLIMIT_AS, 2 * (_address_space() + 3 * 2**30,))
    read = refused = 0
    slowest = 0.0
    for index in range(first, count):
        progress[:8] = index.to_bytes(8, "little")
        failure, start = "", time.process_time()
        is_watched = True
        try:
            attempt(reader, sources, index, context, directory)
            read += 1
        except reader.error:
            refused += 1
        except BaseException as error:
            failure = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        is_watched = False
        seconds = time.process_time() - start
        slowest = max(slowest, seconds)
        if seconds > TIME_LIMIT_S:
            failure = f"{seconds:.1f} s"
        if caught:
            failure = f"did {caught[0]}"
            caught.clear()
        grown = _memory_kb() - beginning
        if grown > MEMORY_LIMIT_KB:
            failure = f"took {grown / 1024:.0f} MB"
        if failure:
            _tell(report, {"input": index, "failure": failure})
        if grown > MEMORY_LIMIT_KB:  # the highest mark only rises: the rest in a new process
            break
    _tell(
        report,
        {
            "read": read,
            "refused": refused,
            "slowest": slowest,
            "memory_kb": _memory_kb() - beginning,
        },
    )
    if index < count - 1:
        raise SystemExit(3)


def _warm_up(reader: Reader, sources, directory: pathlib.Path) -> None:
    """Let everything be imported and compiled that reading imports and compiles."""
    rng = random.Random(0)
    for source in sources:
        for _ in range(3):
            try:
                reader.attempt(source, rng, directory)
            except reader.error:
                pass
            except Exception as error:  # it is counted when its number comes
                print(f"while warming up: {type(error).__name__}: {error}", flush=True)


def _is_forbidden(event: str, arguments: tuple) -> bool:
    if event == "exec":  # code of a module is what an import runs; anything else came from a file
        name = getattr(arguments[0], "co_filename", "")
        return not name.startswith(("/", "<frozen", "<string>"))
    return event in _FORBIDDEN


def _memory_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _address_space() -> int:
    return int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _tell(report: pathlib.Path, entry: dict) -> None:
    with report.open("a") as file:
        file.write(json.dumps(entry) + "\n")
