"""Lineage: what a preset came from, as links that name one another by their hashes. Plain functions on plain values.

A link is an object that says what it is of ("preset", "checkpoint", "run", "dataset" and so on), its hashes and counts, and
under `before` the hashes of the links that it came from. So the hash of one link covers everything behind it, nothing stands
twice, and a chain may be as long as it likes. No link holds a time, a path or the name of a machine.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.json_files import parse_object
from clozekit.tokenizers.settings.sealed_json import sha256_of_fields

LINEAGE_FILE = "lineage.json"
LINEAGE_VERSION = 1
# Each step of a model's life adds five links or so; beyond it somebody plays with whoever prints them.
_MOST_LINKS, _MOST_STEPS = 20_000, 400
_MOST_COUNT = 2**63
_LONGEST_TEXT = 2000
_SHA256 = re.compile(r"[0-9a-f]{64}")

Link = Mapping[str, Any]


@dataclass(frozen=True)
class Lineage:
    """A link and all those behind it.

    Args:
        sha256: of the link that it is the lineage of.
        links: sha256 -> link, those behind it too.

    Example:

        >>> from clozekit.model.presets.lineage import Lineage, linked
        >>> corpus = linked("corpus", {"num_files": 2, "num_bytes": 100})
        >>> dataset = linked("dataset", {"rows": 8}, {"corpus": [corpus]})
        >>> isinstance(dataset, Lineage), dataset.link["rows"], [one.link["what"] for one in dataset.before("corpus")]
        (True, 8, ['corpus'])
    """

    sha256: str
    # The hash decides them.
    links: Mapping[str, Link] = field(compare=False)

    @property
    def link(self) -> Link:
        return self.links[self.sha256]

    def before(self, name: str) -> list["Lineage"]:
        """What the link names under `name` as what it came from."""
        return [Lineage(sha256, self.links) for sha256 in self.link["before"].get(name, ())]

    def walk(self) -> Iterator["Lineage"]:
        """This link and every one behind it, each once, in the order in which they are named."""
        seen: set[str] = set()
        waiting = [self.sha256]
        while waiting:
            sha256 = waiting.pop()
            if sha256 in seen:
                continue
            seen.add(sha256)
            yield Lineage(sha256, self.links)
            named = [one for hashes in self.links[sha256]["before"].values() for one in hashes]
            waiting += reversed(named)

    def own_links(self) -> dict[str, Link]:
        """This link and those behind it by their hashes, and no others."""
        return {one.sha256: one.link for one in self.walk()}

    def of(self, what: str) -> list["Lineage"]:
        """The links of one kind, the nearest first."""
        return [one for one in self.walk() if one.link["what"] == what]


def linked(what: str, fields: Mapping[str, Any], before: Mapping[str, Sequence[Lineage]] | None = None) -> Lineage:
    """The lineage of one more link.

    Args:
        what: it is of.
        fields: name -> value; those of None are left out.
        before: how it came from others -> them.
    """
    named = {name: [one.sha256 for one in those] for name, those in (before or {}).items() if those}
    said = {name: value for name, value in fields.items() if value is not None}
    # As it will be read: JSON knows no tuples.
    link = json.loads(json.dumps({**said, "what": what, "before": named}))
    problem = _problem_of_link(link)
    if problem is not None:
        raise ValueError(f"a link must be one that can be read again, of {what}: {problem}")
    sha256 = sha256_of_fields(link)
    links = {sha256: link}
    for those in (before or {}).values():
        for one in those:
            links |= one.own_links()
    return Lineage(sha256, links)


def lineage_to_json(lineage: Lineage) -> str:
    """The text of `lineage.json`: the same bytes always."""
    content = {"schema_version": LINEAGE_VERSION, "sha256": lineage.sha256, "links": lineage.own_links()}
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def lineage_from_json(text: str | bytes, named: str) -> Lineage:
    """Raises InputError, calling the file `named`, for what is no lineage, or was changed since it was written."""
    content = parse_object(text, named)
    version = content.get("schema_version")
    if not isinstance(content.get("links"), dict) or not isinstance(content.get("sha256"), str):
        raise InputError(f"{named} must be a lineage that Clozekit wrote, it is another file of that name")
    if version != LINEAGE_VERSION:
        raise InputError(
            f"the schema of a lineage must be {LINEAGE_VERSION}, {named} has {version!r:.40}; read it with the Clozekit that"
            " wrote it"
        )
    problem = _problem_of(content["sha256"], content["links"])
    if problem is not None:
        raise InputError(f"{named} must be as it was written, it was changed: {problem}; copy the preset again")
    return Lineage(content["sha256"], content["links"])


def _problem_of(first: str, links: Mapping[str, Any]) -> str | None:
    if first not in links:
        return f"the link {first[:12]!r} is missing"
    if len(links) > _MOST_LINKS:
        return f"it has {len(links):,} links"
    for sha256, link in links.items():
        problem = _problem_of_link(link)
        if problem is None and sha256_of_fields(link) != sha256:
            problem = "it is not what its hash says"
        if problem is None:
            problem = next((f"{one[:12]} is missing" for one in _named_by(link) if one not in links), None)
        if problem is not None:
            return f"link {sha256[:12]!r}: {problem}"
    level, steps = {first}, 0
    # A link that names itself needs a broken sha256; a line of very many does not.
    while level:
        level = {one for sha256 in level for one in _named_by(links[sha256])}
        steps += 1
        if steps > _MOST_STEPS:
            return f"it goes back more than {_MOST_STEPS} steps"
    return None


def _named_by(link: Link) -> list[str]:
    return [one for hashes in link["before"].values() for one in hashes]


def _problem_of_link(link: Any) -> str | None:
    if not isinstance(link, dict) or not _is_text(link.get("what")):
        return "it does not say what it is"
    before = link.get("before")
    if not isinstance(before, dict) or not all(
        _is_text(name) and isinstance(hashes, list) and all(map(_is_sha256, hashes)) for name, hashes in before.items()
    ):
        return "it does not say by hashes what it came from"
    for name, value in link.items():
        if name not in ("what", "before") and not _is_plain(name, value):
            return f"{name!r:.40} is no count, text or hash"
    return None


def _is_plain(name: Any, value: Any, depth: int = 0) -> bool:
    """Whether whatever prints a value can do so: counts, lines of text, hashes, and a few levels of them."""
    if not _is_text(name):
        return False
    if isinstance(value, dict):
        return depth < 4 and all(_is_plain(key, inner, depth + 1) for key, inner in value.items())
    if isinstance(value, list):
        return depth < 4 and all(_is_plain(name, inner, depth + 1) for inner in value)
    if name.endswith("sha256"):
        return _is_sha256(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return 0 <= value < _MOST_COUNT
    return _is_text(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT and value.isprintable()


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None
