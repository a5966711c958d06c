"""Whatever the documents tell people to type is run, or, where it cannot be here, at least exists."""

import configparser
import contextlib
import dataclasses
import functools
import importlib.util
import io
import re
import runpy
import sys

import pytest
from PIL import Image

from sdflow_jax import Editor
from sdflow_jax.files.config_files import read_config
from tests.docs.fences import PAGES, ROOT, Fence, fences

ALL = [fence for page in PAGES for fence in fences(page)]
RUNNING = [page for page in PAGES if any(not fence.marker for fence in fences(page))]
SHELL = [
    pytest.param(words, id=f"{fence.page.stem}: {' '.join(words)[:60]}")
    for fence in ALL
    if fence.language == "bash"
    for words in fence.commands
]


@functools.cache
def pocket_editor():
    editor = Editor.from_files(
        **{
            role: f"pocket:{role}"
            for role in ("generator", "inversion_encoder", "flow", "semantic_encoder")
        },
        batch_size=2,
    )
    editor.renderer = None  # which not every machine has: 128 pixels, everywhere
    return editor


@pytest.mark.parametrize("page", RUNNING, ids=lambda page: page.stem)
def test_what_is_not_marked_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Editor, "from_pretrained", lambda *_, **__: pocket_editor())
    Image.linear_gradient("L").convert("RGB").resize((64, 64)).save("photo.png")
    names = {}
    for fence in fences(page):
        if not fence.marker:
            run(hurried(fence), names)
    if page.stem == "start":
        assert {path.name for path in tmp_path.glob("edited/*")} == {
            "before.png",
            "before-Young.png",
        }


def hurried(fence: Fence) -> Fence:
    """The same with few steps of refinement: how good they are is another test's matter."""
    return dataclasses.replace(
        fence, code=re.sub(r"(num[_-]steps[= ])100\b", r"\g<1>4", fence.code)
    )


def run(fence: Fence, names: dict) -> None:
    if fence.language == "python":
        exec(compile(fence.code, fence.page.name, "exec"), names)
        return
    for words in fence.commands:
        assert words[:2] == ["python", "-m"], f"mark {words}, or teach this test to run it"
        assert run_module(words[2], words[3:])[0] in (0, None)


def run_module(name: str, arguments: list[str]) -> tuple[int | None, str]:
    """Exit status and output of `python -m name arguments`, in this process."""
    output = io.StringIO()
    is_package = importlib.util.find_spec(name).submodule_search_locations is not None
    ran = f"{name}.__main__" if is_package else name
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setattr(sys, "argv", [name, *arguments])
        patch.delitem(sys.modules, ran, raising=False)  # which runpy warns of
        try:
            runpy.run_module(name, run_name="__main__")
        except SystemExit as stop:
            return stop.code, output.getvalue()
    return 0, output.getvalue()


@functools.cache
def help_of(module: str) -> str:
    status, text = run_module(module, ["--help"])
    assert status == 0
    return text


@pytest.mark.parametrize("words", SHELL)
def test_what_is_typed_exists(words):
    program, *rest = words
    match program, rest:
        case "python3", ["-m", "venv", _]:
            pass
        case "jupyter", ["lab", notebook]:
            assert (ROOT / notebook).exists()
        case "source", [_]:
            pass
        case "make", targets:
            makefile = (ROOT / "Makefile").read_text()
            assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
        case "pip", ["install", *arguments]:
            setup = configparser.ConfigParser()
            setup.read(ROOT / "setup.cfg")
            known = set(setup["options.extras_require"])
            for extras in re.findall(r"\[(.*?)\]", " ".join(arguments)):
                assert set(extras.split(",")) <= known
        case "python", ["-m", module, *arguments]:
            assert flags(arguments) <= set(re.findall(r"--[\w-]+", help_of(module)))
        case "python", [("train.py" | "evaluate.py") as script, *arguments]:
            check_script(script, arguments)
        case _:
            pytest.fail(f"no check for {words}")


def check_script(script: str, arguments: list[str]) -> None:
    defined = re.findall(r'DEFINE_\w+\(\s*"(\w+)"', (ROOT / script).read_text())
    assert {flag.partition(".")[0] for flag in flags(arguments)} <= {f"--{x}" for x in defined}
    values = dict(x.split("=", 1) for x in arguments if "=" in x)
    if "--config" in values:
        config = read_config(ROOT / values["--config"])
        for key in (flag for flag in values if flag.startswith("--config.")):
            found = config
            for part in key.removeprefix("--config.").split("."):
                assert part in found, f"no {key} in {values['--config']}"
                found = found[part]


def flags(arguments: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in arguments if word.startswith("--")}


def test_every_marker_is_explained_where_it_is_shown():
    style = (ROOT / "docs" / "assets" / "style.css").read_text()
    used = {fence.marker for fence in ALL} - {""}
    assert used <= set(re.findall(r"^\.(\w+)::before", style, re.MULTILINE))
