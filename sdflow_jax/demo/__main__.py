"""The page to play with: `python -m sdflow_jax.demo`, then http://127.0.0.1:7860 in a browser.

It edits with the packaged world (`--from pocket`), with a training run (`--workdir RUN`), or with
converted network files (`--generator FILE` and its companions). Only this machine can reach it, unless
`--host` says otherwise; nothing that it shows or runs is fetched from elsewhere.
"""

import argparse
import errno
import os
import pathlib
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Sequence
from typing import NoReturn

from sdflow_jax.demo.guard import bare_host
from sdflow_jax.demo.studio import Studio
from sdflow_jax.editor import Editor
from sdflow_jax.files.compiled_programs import keep_compiled_programs

_WARM_UP = "compiling while the page is open"
_FILES = ("generator", "inversion_encoder", "flow", "semantic_encoder")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line until it is interrupted; returns the exit status."""
    arguments = _parser().parse_args(argv)
    # Read by gradio when it is imported. The folder of uploads goes with the page, and what is
    # left on is only what somebody has turned on.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    with tempfile.TemporaryDirectory(prefix="sdflow-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            return _serve(arguments)
        except ImportError as error:
            if error.name != "gradio":
                raise
            print('error: the page needs gradio: pip install "sdflow_jax[demo]"', file=sys.stderr)
            return 1
        except (OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 0


def _serve(arguments: argparse.Namespace) -> int:
    # Before the networks, which take long; and after them, for somebody else may have come.
    check_address(arguments.host, arguments.port)
    from sdflow_jax.demo.page import build_page, launch_arguments

    warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
    keep_compiled_programs()
    print("loading the networks", flush=True)
    studio = Studio(load_editor(arguments))
    studio.warm_up(lambda line: print(f"compiling: {line}", flush=True))
    page = build_page(studio)
    check_address(arguments.host, arguments.port)
    host = bare_host(arguments.host)
    _, address, _ = page.launch(
        server_name=f"[{host}]" if ":" in host else host,  # it stands in an address
        server_port=arguments.port,
        inbrowser=arguments.open,
        prevent_thread_lock=True,
        quiet=True,
        **launch_arguments(host),
    )
    print(f"the page is at {address} (Ctrl-C ends it)", flush=True)
    threading.Thread(target=studio.warm_up_refinement, name=_WARM_UP, daemon=True).start()
    page.block_thread()
    return 0


def check_address(host: str, port: int) -> None:
    """See whether the page can be served at an address.

    Raises:
      ValueError: if it cannot: the port is taken, or none, or the host is not this machine's.
    """
    if not 1 <= port <= 65535:
        raise ValueError(f"--port {port} is no port; it must be from 1 to 65535")
    # Gradio wants the port to be free on localhost too, wherever it listens.
    for name in dict.fromkeys((bare_host(host), "127.0.0.1")):
        family = socket.AF_INET6 if ":" in name else socket.AF_INET
        try:
            socket.create_server((name, port), family=family).close()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ValueError(f"--port {port} is in use; choose another") from error
            if error.errno == errno.EACCES:
                raise ValueError(
                    f"--port {port} is not for every user to serve at; choose one above 1023"
                ) from error
            raise ValueError(
                f"--host {host} is no address of this machine ({error.strerror})"
            ) from error


def load_editor(arguments: argparse.Namespace) -> Editor:
    """The editor that the command line asks for.

    Raises:
      ValueError, OSError: if it asks for several, for one in part, or for what cannot be loaded.
    """
    files = {name: getattr(arguments, name) for name in _FILES}
    given = [name for name, file in files.items() if file is not None]
    if given and arguments.workdir is not None:
        raise ValueError("give --workdir or network files, not both")
    if arguments.workdir is not None:
        return Editor.from_workdir(arguments.workdir, batch_size=1)
    if not given:
        return Editor.from_pretrained(arguments.world, batch_size=1)
    if missing := [name for name in _FILES if name not in given]:
        flags = " ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise ValueError(f"network files come together; missing: {flags}")
    return Editor.from_files(**files, batch_size=1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sdflow_jax.demo",
        description="A page in the browser that edits faces.",
        epilog="example: python -m sdflow_jax.demo --workdir runs/pocket --port 8000",
    )
    parser.add_argument(
        "--from",
        dest="world",
        default="pocket",
        metavar="WORLD",
        help="the packaged world to edit with (default: pocket)",
    )
    parser.add_argument(
        "--workdir", type=pathlib.Path, metavar="RUN", help="a training run instead"
    )
    for name in _FILES:
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=pathlib.Path,
            metavar="FILE",
            help="or network files, as `python -m converters` writes them",
        )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at (default: 127.0.0.1, this machine alone; 0.0.0.0 is everybody)",
    )
    parser.add_argument("--port", type=int, default=7860, help="its port (default: 7860)")
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    return parser


def _end(status: int) -> NoReturn:
    """End the process, even while a thread compiles: it cannot be stopped, and the interpreter's own end beside it is
    an abort.
    """
    if any(thread.name == _WARM_UP for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    _end(main())
