"""A lineage in words: an indented list for the screen, and rows for the card of a published model."""

from collections.abc import Iterator
from typing import Any

from clozekit.model.presets.lineage import Lineage, Link

_SHORT = 12
# Files shown of a preset: those with its weights.
_WEIGHTS = (".h5", ".safetensors", ".onnx", ".onnx_data", ".tflite", ".pb")
_SHOWN_FILES = 4


def lineage_lines(lineage: Lineage) -> Iterator[str]:
    """A line a link, each below what came from it; what stands twice is told once."""
    seen: set[str] = set()
    waiting = [(0, "", lineage)]
    while waiting:
        depth, name, one = waiting.pop()
        what = one.link["what"]
        named = "" if name in ("", what) else f"{name}: "
        again = one.sha256 in seen
        seen.add(one.sha256)
        yield f"{'  ' * depth}{named}{title(one)}{' (as above)' if again and one.link['before'] else ''}"
        if not again:
            behind = [(depth + 1, name, before) for name in one.link["before"] for before in one.before(name)]
            waiting += reversed(behind)


def title(one: Lineage) -> str:
    """A link in one line: what it is, its hash in short, its counts."""
    link = one.link
    describe = _DESCRIBED.get(link["what"])
    said = [] if describe is None else [part for part in describe(link) if part]
    head = f"{link['what']} {known_by(one)}".strip()
    return f"{head}: {', '.join(said)}" if said else head


def known_by(one: Lineage) -> str:
    """The hash, in short, by which a link is known: its content's, where it has one."""
    link = one.link
    if link["what"] == "preset":
        return str(link.get("handle", "") or one.sha256[:_SHORT])
    names = ("weights_sha256", "dataset_sha256", "genesis_sha256", "sha256")
    return next((_short(link[name]) for name in names if name in link), one.sha256[:_SHORT])


def card_rows(lineage: Lineage) -> list[tuple[str, str, str]]:
    """(what, its hash in short, the rest) of every link, the nearest first."""
    return [(one.link["what"], f"`{known_by(one)}`", title(one).partition(": ")[2]) for one in lineage.walk()]


def _preset(link: Link) -> Iterator[str]:
    if link.get("made_by") == "unknown":
        yield "what it was is not known: it was gone when the run went on"
        return
    if "made_by" not in link:
        yield "it has no lineage of its own"
    else:
        yield f"{_text(link['made_by'])}, {_text(link.get('layout'))}"
    files = _mapping(link.get("files"))
    weights = [name for name in files if name.endswith(_WEIGHTS)]
    yield from (f"{name} {_short(files[name])}" for name in weights[:_SHOWN_FILES])
    if len(weights) > _SHOWN_FILES:
        yield f"{len(weights) - _SHOWN_FILES:,} more files of weights"
    if "num_tokens" in link:
        yield f"{_count(link, 'num_tokens')} tokens added ({_short(link.get('tokens_sha256'))})"
    tokenizer = _mapping(link.get("tokenizer"))
    if tokenizer:
        yield f"{_text(tokenizer.get('class_name'))} {_short(tokenizer.get('sha256'))}"


def _checkpoint(link: Link) -> Iterator[str]:
    yield f"step {_count(link, 'step')}"
    yield f"{_count(link, 'rows')} rows"
    yield f"{_count(link, 'tokens')} tokens"
    heads = _list(link.get("heads"))
    if heads:
        last = _mapping(heads[-1])
        yield f"the stream up to fragment {_count(last, 'number')} ({_short(last.get('sha256'))})"


def _run(link: Link) -> Iterator[str]:
    yield _text(link.get("kind"))
    yield f"recipe {_short(link.get('recipe_sha256'))}"
    for code in _list(link.get("code")):
        yield f"clozekit {_text(_mapping(code).get('clozekit'))}"
        for key, function in _mapping(_mapping(code).get("functions")).items():
            function = _mapping(function)
            yield f"{key}={_text(function.get('name'))} {_short(function.get('sha256'))}"


def _dataset(link: Link) -> Iterator[str]:
    yield f"rows of up to {_count(link, 'sequence_length')} tokens"
    for name, split in _mapping(link.get("splits")).items():
        split = _mapping(split)
        yield f"{name} of {_count(split, 'rows')} rows and {_count(split, 'tokens')} tokens"
    yield f"recipe {_short(link.get('recipe_sha256'))}"


def _corpus(link: Link) -> Iterator[str]:
    yield f"{_count(link, 'num_files')} {'file' if link.get('num_files') == 1 else 'files'}"
    yield f"{_count(link, 'num_bytes')} bytes"
    yield f"{_count(link, 'documents')} documents"
    if "content_sha256" in link:
        yield f"content {_short(link.get('content_sha256'))}"


def _tokenizer(link: Link) -> Iterator[str]:
    yield f"{_text(link.get('class_name'))} of {_count(link, 'vocabulary_size')} pieces"


def _examples(link: Link) -> Iterator[str]:
    for file in _list(link.get("files")):
        file = _mapping(file)
        yield (
            f"{_text(file.get('use'))} {_text(file.get('name'))} {_short(file.get('sha256'))} of"
            f" {_count(file, 'num_examples')} examples"
        )


_DESCRIBED = {
    "preset": _preset,
    "checkpoint": _checkpoint,
    "run": _run,
    "dataset": _dataset,
    "stream": _dataset,
    "corpus": _corpus,
    "tokenizer": _tokenizer,
    "examples": _examples,
}


# What somebody else wrote may hold anything that is plain.
def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "?"


def _short(value: Any) -> str:
    return value[:_SHORT] if isinstance(value, str) else "?"


def _count(link: Link, name: str) -> str:
    value = link.get(name)
    return f"{value:,}" if isinstance(value, int) else "?"
