"""The settings of `clozekit prepare`, checked when they are made."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from clozekit.tokenizers.errors import InputError

INPUT_FORMATS = ("auto", "text", "jsonl")
DOCUMENT_KINDS = ("file", "line", "block")


@dataclass(frozen=True)
class ReadOptions:
    """How documents are found in files.

    input_format: "text", "jsonl" (a JSON object a line), or "auto" (.jsonl and .json are JSON lines, the rest text).
    document_kind: what a document is in a text file: the "file", a "line", or a "block" between blank lines.
    text_key, id_key: the fields of a JSON line; a line without the id field is known by the hash of its text.
    """

    inputs: tuple[str, ...]
    input_format: str = "auto"
    document_kind: str = "file"
    text_key: str = "text"
    id_key: str = "id"
    # 0: every record that can't be read fails the build, so that nothing is lost without a word.
    max_bad_rate: float = 0.0

    def __post_init__(self) -> None:
        if not self.inputs:
            raise InputError("at least one input is needed, got none; pass --input FILE, DIRECTORY or GLOB")
        check_choice("input_format", self.input_format, INPUT_FORMATS)
        check_choice("document_kind", self.document_kind, DOCUMENT_KINDS)
        check_rate("max_bad_rate", self.max_bad_rate)


@dataclass(frozen=True)
class PrepareOptions:
    """How documents become rows and rows become shards.

    validation_rate: share of the documents that the validation split gets, chosen by the hash of their id.
    shard_size_mb: size a shard is planned for; num_shards, when given, overrides it for the train split.
    group_size: documents packed together; 20,000 gave a fill rate of 0.999 on paragraphs at length 512 and keeps a
        group of full rows near 40 MB.
    """

    sequence_length: int = 512
    validation_rate: float = 0.01
    seed: int = 0
    shard_size_mb: float = 64.0
    num_shards: int | None = None
    group_size: int = 20_000

    def __post_init__(self) -> None:
        check_at_least("sequence_length", self.sequence_length, 8)
        check_rate("validation_rate", self.validation_rate)
        check_at_least("group_size", self.group_size, 1)
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be from 0 to 2**63 - 1, got {self.seed}")
        if not 0 < self.shard_size_mb < float("inf"):
            raise InputError(f"shard_size_mb must be above 0, got {self.shard_size_mb}")
        if self.num_shards is not None:
            check_at_least("num_shards", self.num_shards, 1)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def check_rate(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{name} must be a rate from 0 to 1, got {value}")


def check_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"{name} must be at least {least}, got {value}")
