"""Code in the documents: where it stands, in which language, and whether it can run anywhere."""

import dataclasses
import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md")) + sorted((ROOT / "docs" / "guides").glob("*.md"))

# What a fence says of code that no test runs, as "```{.bash .long}".
MARKERS = {
    "ffhq": "needs FFHQ or published checkpoints",
    "long": "takes a minute or hours, or needs what such a command has left",
    "install": "installs packages",
    "devices": "needs several devices or machines",
    "page": "opens a page",
    "yours": "needs files that the reader has",
}
LANGUAGES = ("bash", "python")

_FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Fence:
    """A block of code; `marker` is empty if a test runs it."""

    page: pathlib.Path
    language: str
    marker: str
    code: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each shell command, without what is set before it."""
        lines = self.code.replace("\\\n", " ").splitlines()
        found = [shlex.split(line, comments=True) for line in lines]
        return [
            [word for word in words if not re.match(r"[A-Z_]+=", word)] for words in found if words
        ]


def fences(page: pathlib.Path) -> list[Fence]:
    """All blocks of code of a page, in their order.

    Raises:
      ValueError: if one has no language or an unknown marker.
    """
    found = []
    for _, info, code in _FENCE.findall(page.read_text()):
        language, *markers = info.strip("{} ").replace(".", "").split() or [""]
        if language not in LANGUAGES or len(markers) > 1 or set(markers) - set(MARKERS):
            raise ValueError(
                f"{page.name}: ```{info}: expected a language of {LANGUAGES} and at most one marker of"
                f" {tuple(MARKERS)}"
            )
        found.append(Fence(page, language, "".join(markers), code))
    return found
