"""The documents are built as strictly as MkDocs can, need nothing of other servers, and hold together."""

import html.parser
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import urllib.parse

import pytest

from tests.docs.fences import ROOT

NEEDED = ("mkdocs", "material", "mkdocstrings", "latex2mathml")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"not installed: {', '.join(MISSING)}; pip install -e '.[docs]'"
)


class Page(html.parser.HTMLParser):
    """What a page names, links to, and loads."""

    def __init__(self, text: str):
        super().__init__()
        self.ids, self.links, self.loaded, self.tags = set(), [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.add(tag)
        self.ids |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag == "link" and found.get("href"):
            self.loaded.append(found["href"])
        if found.get("src"):
            self.loaded.append(found["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[pathlib.Path, Page]:
    return {path: Page(path.read_text()) for path in site.rglob("*.html")}


def test_every_page_is_there(site, pages):
    pages_of = {"README.md": "index.html"}
    sources = {
        path.relative_to(ROOT / "docs").with_name(
            pages_of.get(path.name, path.with_suffix(".html").name)
        )
        for path in (ROOT / "docs").rglob("*.md")
        if path.name != "reading.md"
    }
    assert sources <= {path.relative_to(site) for path in pages}


def test_links_lead_somewhere(site, pages):
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # its links are those of the server's root
        for link in page.links + page.loaded:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (
                (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            )
            if target.is_dir():
                target /= "index.html"
            anchor = urllib.parse.unquote(parts.fragment)
            is_there = target.is_file() and (
                not anchor or target not in pages or anchor in pages[target].ids
            )
            if not is_there:
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken


def test_nothing_is_loaded_from_elsewhere(site, pages):
    loaded = [link for page in pages.values() for link in page.loaded]
    assert not [x for x in loaded if urllib.parse.urlsplit(x).netloc]
    for path in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", path.read_text()), path


def test_formulas_and_code_are_set(site, pages):
    assert "math" in pages[site / "how-it-works.html"].tags
    for path in pages:
        text = path.read_text()
        assert 'class="arithmatex"' not in text, path
        assert "{.bash" not in text, path
        assert "<!-- include" not in text, path
