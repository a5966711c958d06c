"""What happens to pages as MkDocs builds them: formulas become MathML, files of the repository are
taken in where a page asks for them, and pages that other work brings enter the navigation.
"""

import html
import pathlib
import re

from latex2mathml.converter import convert

ROOT = pathlib.Path(__file__).parent.parent

# Pages that stand in the navigation once they are there: page -> its title, and the title before it.
_OPTIONAL = {"reliability.md": ("Reliability", "Performance")}

# Files that are taken in, and where their links lead in the documents; links to others lose the link.
_PAGES = {
    "sdflow_jax/pocket/MODEL_CARD.md": "pocket.md",
    "benchmarks/README.md": "performance.md",
    "CHANGELOG.md": "changelog.md",
}

# Where pages are read as files, as on GitHub, a link stands for what is taken in, and links to a class or
# function lead to its source.
_INCLUDE = re.compile(r"^\[[^\]]+\]\(\.\./(\S+)\)<!-- include -->$", re.MULTILINE)
_SOURCE = re.compile(r"\]\((?:\.\./)+(sdflow_jax/[\w/]+)\.py#([\w.]+)\)")
_OUTSIDE = re.compile(r"\]\(\.\./((?:\.\./)*)([\w/]+\.md)(#[\w-]+)?\)")
_LINK = re.compile(r"\[([^\]]+)\]\(((?!https?:|#)[^)]+)\)")
_FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>',
    re.DOTALL,
)


def on_config(config):
    """Give pages that exist only sometimes their place in the navigation."""
    for page, (title, before) in _OPTIONAL.items():
        if (pathlib.Path(config.docs_dir) / page).is_file():
            titles = [next(iter(entry)) for entry in config.nav]
            config.nav.insert(titles.index(before) + 1, {title: page})
    return config


def on_page_markdown(markdown, **_):
    """Take in the files that a page asks for, without their title, and turn links out of the documents into
    links to what these say of the same.
    """
    markdown = _INCLUDE.sub(lambda found: _text_of(found[1]), markdown)
    markdown = _SOURCE.sub(lambda x: f"][{x[1].replace('/', '.')}.{x[2]}]", markdown)
    return _OUTSIDE.sub(_inside, markdown)


def on_page_content(content, **_):
    """Write formulas as MathML, which browsers draw without any script."""

    def mathml(found):
        display = "block" if found[2] == "[" else "inline"
        return convert(html.unescape(found[3]).strip(), display=display)

    return _FORMULA.sub(mathml, content)


def _inside(found):
    """The link to a file outside as one to the page that takes it in; other links stay."""
    up, file, anchor = found.groups()
    return f"]({up}{_PAGES[file]}{anchor or ''})" if file in _PAGES else found[0]


def _text_of(name):
    text = (ROOT / name).read_text()
    _, _, body = text.partition("\n")  # the page has a title of its own
    base = pathlib.PurePosixPath(name).parent

    def link(found):
        target = str(base / found[2])
        return f"[{found[1]}]({_PAGES[target]})" if target in _PAGES else found[1]

    return _LINK.sub(link, body)
