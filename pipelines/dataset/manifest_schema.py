"""What a manifest must look like: types, ranges, names and sums, checked on every reading. No Beam."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from clozekit.pipelines.dataset.records import SPLITS
from clozekit.pipelines.dataset.row_limits import MAX_SEQUENCE_LENGTH
from clozekit.pipelines.dataset.schema_rules import (
    keys_problems,
    sha256_problems,
    shown,
    text_problems,
    whole_problems,
)
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.formats.vocabulary_files import MAX_VOCABULARY_SIZE
from clozekit.tokenizers.tokenizer import Tokenizer

SCHEMA_VERSION = 1
# What readers need of a tokenizer: they pad, find the ends of documents, and mask.
NEEDED_ROLES = ("pad_token", "mask_token", "start_token", "end_token")
HISTOGRAM_BINS = 32
_MOST = 2**53
_KEYS = frozenset(
    {
        *("build_id", "counts", "dataset_sha256", "environment", "inputs", "schema_version", "sequence_length"),
        *("settings", "splits", "tokenizer"),
    }
)
_SHARD_KEYS = ("first_row", "name", "num_bytes", "pieces", "rows", "sha256", "tokens")
_SPLIT_KEYS = frozenset({"shards", "length_histogram", "histogram_bin_width"})
_TOKENIZER_KEYS = frozenset({"class_name", "sha256", "special_token_ids", "vocabulary_size"})
# A TFRecord frames each record by 16 bytes, and the features of a row take some.
_BYTES_OF_A_ROW = 16
# No number in a row takes more as a varint, and what names the features takes less than the rest.
_MOST_BYTES_OF_A_NUMBER, _MOST_BESIDE = 32, 4096
# No blank, no wildcard, nothing that a shell, a system or a store takes for more than a name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


def histogram_bin_width(sequence_length: int) -> int:
    return -(-sequence_length // HISTOGRAM_BINS)


def manifest_problems(fields: Any) -> Iterator[str]:
    """What breaks a rule in the JSON of a manifest, in words; the first of them is enough to refuse it."""
    if not isinstance(fields, dict):
        yield "it must be a JSON object"
        return
    yield from keys_problems("it", fields, _KEYS)
    version = fields["schema_version"]
    if isinstance(version, bool) or not isinstance(version, int):
        yield f"schema_version must be a whole number, it is {shown(version)}"
    for name in ("build_id", "dataset_sha256"):
        yield from text_problems(name, fields[name])
    yield from whole_problems("sequence_length", fields["sequence_length"], 1, MAX_SEQUENCE_LENGTH)
    yield from tokenizer_problems(fields["tokenizer"])
    yield from _described(fields)
    splits = fields["splits"]
    if not isinstance(splits, dict) or not splits or not set(splits) <= set(SPLITS):
        yield f"splits must be some of {', '.join(SPLITS)}, they are {shown(list(splits) if isinstance(splits, dict) else splits)}"
        return
    seen: set[str] = set()
    for name, split in splits.items():
        yield from split_problems(name, split, fields["sequence_length"], seen)


def split_problems(name: str, split: Any, sequence_length: int, seen: set[str], folder: str = "") -> Iterator[str]:
    """What breaks a rule in what is said of one split.

    seen: names of the shards of the splits before; those of this one are added. folder: where its shards stand, with a slash.
    """
    yield from keys_problems(name, split, _SPLIT_KEYS)
    shards, histogram = split["shards"], split["length_histogram"]
    if not isinstance(shards, list) or not shards:
        yield f"{name} must have shards, it has {shown(shards)}"
        return
    next_row = pieces = 0
    sums: set[str] = set()
    for shard in shards:
        yield from _shard(f"a shard of {name}", shard, sequence_length, folder)
        if shard["name"] in seen:
            yield f"every shard must be there once, {shard['name']} is named twice"
        seen.add(shard["name"])
        if shard["sha256"] in sums:
            yield f"every shard must be there once, another one has the bytes of {shard['name']}"
        sums.add(shard["sha256"])
        if shard["first_row"] != next_row:
            yield f"the first row of {shard['name']} must be {next_row}, it is {shard['first_row']}"
        next_row += shard["rows"]
        pieces += shard["pieces"]
    width = histogram_bin_width(sequence_length)
    if split["histogram_bin_width"] != width or isinstance(split["histogram_bin_width"], bool):
        yield f"histogram_bin_width of {name} must be {width}, it is {shown(split['histogram_bin_width'])}"
    if not isinstance(histogram, list) or len(histogram) != -(-sequence_length // width):
        yield f"length_histogram of {name} must have {-(-sequence_length // width)} counts"
        return
    for count in histogram:
        yield from whole_problems(f"a count in length_histogram of {name}", count, 0, _MOST)
    if sum(histogram) != pieces:
        yield f"length_histogram of {name} must count its {pieces} documents, it counts {sum(histogram)}"
    tokens = sum(shard["tokens"] for shard in shards)
    least = sum(count * (place * width + 1) for place, count in enumerate(histogram))
    most = sum(count * min((place + 1) * width, sequence_length) for place, count in enumerate(histogram))
    if not least <= tokens <= most:
        yield f"{name} must have {least:,} to {most:,} tokens, as its length_histogram says, it has {tokens:,}"


def _shard(what: str, shard: Any, sequence_length: int, folder: str = "") -> Iterator[str]:
    yield from keys_problems(what, shard, frozenset(_SHARD_KEYS))
    name = shard["name"]
    if not isinstance(name, str) or not name.startswith(folder) or not is_bare_name(name.removeprefix(folder)):
        place = f"the folder {folder} of the stream" if folder else "the dataset's folder"
        yield f"the name of {what} must be that of a file in {place}, it is {shown(name)}"
        return
    yield from sha256_problems(f"sha256 of {name}", shard["sha256"])
    yield from whole_problems(f"num_bytes of {name}", shard["num_bytes"], 1, _MOST)
    yield from whole_problems(f"rows of {name}", shard["rows"], 1, shard["num_bytes"] // _BYTES_OF_A_ROW)
    yield from whole_problems(f"first_row of {name}", shard["first_row"], 0, _MOST)
    yield from whole_problems(f"tokens of {name}", shard["tokens"], shard["rows"], shard["rows"] * sequence_length)
    yield from whole_problems(f"pieces of {name}", shard["pieces"], shard["rows"], shard["tokens"])
    # Whoever reads a shard into memory knows by this how much it can be.
    most = shard["rows"] * _MOST_BESIDE + (shard["tokens"] + 3 * shard["pieces"]) * _MOST_BYTES_OF_A_NUMBER
    yield from whole_problems(f"num_bytes of {name}", shard["num_bytes"], 1, most)


def longest_record(sequence_length: int) -> int:
    """Bytes that the record of a row can have at most."""
    return _MOST_BESIDE + 4 * sequence_length * _MOST_BYTES_OF_A_NUMBER


def shard_problem(shard: Any, sequence_length: int) -> str | None:
    """What breaks a rule in what is said of one shard."""
    return next(_shard("a shard", shard, sequence_length), None)


def is_bare_name(name: str) -> bool:
    """Whether a name is that of a file in the folder itself, on any system and in any store."""
    return _NAME.fullmatch(name) is not None


def tokenizer_problems(tokenizer: Any) -> Iterator[str]:
    yield from keys_problems("tokenizer", tokenizer, _TOKENIZER_KEYS)
    for name in ("class_name", "sha256"):
        yield from text_problems(f"tokenizer.{name}", tokenizer[name])
    if not tokenizer["class_name"].isidentifier():
        yield f"tokenizer.class_name must be the name of a class, it is {shown(tokenizer['class_name'])}"
    size, special = tokenizer["vocabulary_size"], tokenizer["special_token_ids"]
    yield from whole_problems("tokenizer.vocabulary_size", size, 1, MAX_VOCABULARY_SIZE)
    if not isinstance(special, dict) or not set(NEEDED_ROLES) <= set(special):
        yield f"tokenizer.special_token_ids must hold {', '.join(NEEDED_ROLES)}, it is {shown(special)}"
        return
    for role, number in special.items():
        if not role.isidentifier():
            yield f"tokenizer.special_token_ids must have roles such as pad_token, they have {shown(role)}"
        yield from whole_problems(f"tokenizer.special_token_ids.{role}", number, 0, size - 1)
    if special["mask_token"] in (special["pad_token"], special["start_token"], special["end_token"]):
        yield "tokenizer.special_token_ids must have a mask_token of its own"


def special_ids_of(tokenizer: Tokenizer) -> dict[str, int]:
    """Role of a special token -> id, as a manifest has them."""
    return {role: tokenizer.token_to_id(piece) for role, piece in tokenizer.special_token_names.items()}


def check_described(manifest: Any, tokenizer: Tokenizer, directory: str) -> None:
    """Raises InputError unless a manifest says of its tokenizer what that is."""
    for name, said, found in (
        ("class_name", manifest.tokenizer.class_name, type(tokenizer).__name__),
        ("vocabulary_size", manifest.tokenizer.vocabulary_size, tokenizer.vocabulary_size()),
        ("special_token_ids", dict(manifest.tokenizer.special_token_ids), special_ids_of(tokenizer)),
    ):
        if said != found:
            raise InputError(
                f"the manifest must say what the tokenizer is, that of {directory} says {name} {said} and the tokenizer has"
                f" {found}; the manifest was edited: copy the dataset again, or run `clozekit prepare --overwrite`"
            )


def _described(fields: Mapping[str, Any]) -> Iterator[str]:
    """What nobody computes with, but for the settings that the rows follow from."""
    settings = fields["settings"]
    if not isinstance(settings, dict) or not all(isinstance(group, dict) for group in settings.values()):
        yield f"settings must be groups of settings, they are {shown(settings)}"
        return
    prepared = settings.get("prepare", {})
    length, pairs = prepared.get("sequence_length", fields["sequence_length"]), prepared.get("pairs", "none")
    if length != fields["sequence_length"]:
        yield f"sequence_length must be that of the settings, {shown(length)}, it is {fields['sequence_length']}"
    if pairs not in ("none", "next", "order"):
        yield f"settings.prepare.pairs must be none, next or order, it is {shown(pairs)}"
    counts, environment, inputs = fields["counts"], fields["environment"], fields["inputs"]
    if not isinstance(counts, dict):
        yield f"counts must be an object, they are {shown(counts)}"
        return
    for name, number in counts.items():
        yield from whole_problems(
            f"counts.{shown(name)}" if not name.isidentifier() else f"counts.{name}", number, 0, _MOST
        )
    if not isinstance(environment, dict) or not all(isinstance(value, str) for value in environment.values()):
        yield f"environment must be names and versions, it is {shown(environment)}"
    if not isinstance(inputs, list) or not all(isinstance(one, dict) for one in inputs):
        yield f"inputs must be a list of files, they are {shown(inputs)}"
