"""The documents of the repository: their blocks of code, the commands in those, their headings and links."""

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs"))

# What a stranger reads first, and what the site takes in beside docs/.
GUIDES = ("README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code: the document that holds it, the line on which it begins, its language, its text."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def needs(self) -> str | None:
        """What a program says that it can't do without, in its first line."""
        found = re.match(r"# Needs (.*)", self.text)
        return None if found is None else found[1]


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, *languages: str) -> list[Block]:
    text = read(document)
    return [
        Block(document, text.count("\n", 0, found.start()) + 2, found[1], found[2])
        for found in _BLOCK.finditer(text)
        if found[1] in languages
    ]


def commands(block: Block) -> list[list[str]]:
    """The words of each `clozekit` command of a block: all lines of bash, those behind `$ ` of a console."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[line.index("clozekit") + 1 :] for line in words if "clozekit" in line]


def guide_commands(*documents: str) -> list[tuple[str, list[str]]]:
    """(place, words) of every `clozekit` command of the guides, or of some of them."""
    return [
        (str(block), words)
        for document in documents or GUIDES
        for block in blocks(document, "bash", "console")
        for words in commands(block)
    ]


def programs() -> list[Block]:
    """The blocks of Python of the guides and of the READMEs of the folders."""
    documents = (*GUIDES, *(f"{folder}/README.md" for folder in ("deploy", "model", "pipelines", "tokenizers")))
    return [block for document in documents for block in blocks(document, "python")]


def anchors(document: str) -> set[str]:
    """The anchors of the headings of a document."""
    text = re.sub(r"^```.*?^```$", "", read(document), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}
