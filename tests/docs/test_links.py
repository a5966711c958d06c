"""Links of the documents as files, which is how they are read where nobody has built them."""

import ast
import re
import urllib.parse

import pytest

from tests.docs.fences import ROOT

PAGES = sorted(
    path
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "docs" / "guides").glob("*.md"),
        *(ROOT / "docs" / "results").glob("**/*.md"),
        ROOT / "benchmarks" / "README.md",
        ROOT / "sdflow_jax" / "pocket" / "MODEL_CARD.md",
    )
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1", re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def defines(source: str, name: str) -> bool:
    """Whether a module defines a class or function, or a class's method, `Class.method`."""
    nodes = ast.parse(source).body
    for part in name.split("."):
        found = [x for x in nodes if getattr(x, "name", None) == part]
        if not found:
            return False
        nodes = found[0].body
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_files_lead_somewhere(page):
    text, broken = FENCE.sub("", page.read_text()), []
    for link in LINK.findall(text):
        parts = urllib.parse.urlsplit(link)
        if parts.scheme:
            continue
        target = page.parent / urllib.parse.unquote(parts.path) if parts.path else page
        if not target.exists():
            broken.append(link)
        elif parts.fragment and target.suffix == ".py":
            if not defines(target.read_text(), parts.fragment):
                broken.append(link)
        elif parts.fragment and parts.fragment not in anchors(target.read_text()):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_shows_that_only_a_built_page_understands(page):
    text = FENCE.sub("", page.read_text())
    assert not re.search(r"^(!!!|\?\?\?) ", text, re.MULTILINE)
    assert not re.search(r"\]\[sdflow_jax", text)
