"""What the docstring of a class of settings says of its fields: the one text of `--help` and of the reference page."""

import dataclasses
import inspect
import re
from collections.abc import Collection
from dataclasses import dataclass

_PARAGRAPHS = re.compile(r"\n\s*\n")
# What `help` says of errors, papers and examples.
_SECTIONS = re.compile(r"^(?:Raises|Source|Example):", re.MULTILINE)
# Where a sentence begins or behind a semicolon: `field: ...`, `field (aside): ...` or `one_field, another: ...`.
_NAMES = re.compile(r"(?:^|(?<=[.;] ))(\w+(?:, \w+)*)( \([^)]*\))?: ")


@dataclass(frozen=True)
class Described:
    """Fields with one meaning; aside: what stands behind their names in parentheses."""

    names: tuple[str, ...]
    aside: str
    meaning: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of a docstring: what it says before any field, and of which fields it says what."""

    text: str
    fields: tuple[Described, ...]


def paragraphs_of(docstring: str, names: Collection[str]) -> list[Paragraph]:
    """The paragraphs of a docstring that describes fields called `names`, before its sections on errors and examples."""
    text = _SECTIONS.split(docstring, maxsplit=1)[0].strip()
    return [_paragraph(" ".join(part.split()), names) for part in _PARAGRAPHS.split(text)]


def _paragraph(text: str, names: Collection[str]) -> Paragraph:
    found = [match for match in _NAMES.finditer(text) if all(name in names for name in match[1].split(", "))]
    ends = [*(match.start() for match in found), len(text)]
    described = [
        Described(tuple(match[1].split(", ")), match[2] or "", text[match.end() : end].strip().rstrip(";."))
        for match, end in zip(found, ends[1:], strict=True)
    ]
    return Paragraph(text[: ends[0]].strip(), tuple(described))


def descriptions_of(settings: type) -> dict[str, str]:
    """Field -> what the docstring of the class, or of one of its bases, says of it."""
    names = {field.name for field in dataclasses.fields(settings)}
    found = {}
    for cls in reversed(settings.__mro__):
        for paragraph in paragraphs_of(inspect.cleandoc(cls.__dict__.get("__doc__") or ""), names):
            for described in paragraph.fields:
                found.update(dict.fromkeys(described.names, described.meaning))
    return found
