"""The manifest: what a dataset holds, written last. Readers trust it alone: no manifest, no dataset. No Beam."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clozekit.pipelines.dataset.manifest_schema import SCHEMA_VERSION, manifest_problems
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.json_files import parse_object
from clozekit.tokenizers.settings.sealed_json import sealed, sha256_of_fields
from clozekit.tokenizers.storage.file_systems import open_file_system

MANIFEST_FILE = "manifest.json"
# Covers all of a manifest but itself; those of older versions have none.
OWN_SHA256 = "manifest_sha256"
# A hundred thousand shards and a million inputs stay below it.
_MAX_BYTES = 2**29


@dataclass(frozen=True)
class ShardInfo:
    """One shard of a dataset, as the manifest describes it.

    Args:
        name: of the file in the dataset's directory.
        rows, tokens: how many it holds.
        pieces: packed documents or parts of long ones.
        num_bytes, sha256: of the file.
        first_row: the number of its first row in the split.

    Example:

        >>> from clozekit.pipelines.dataset.manifest import ShardInfo, read_manifest
        >>> shard = read_manifest("tiny/dataset").splits["train"].shards[0]
        >>> isinstance(shard, ShardInfo), shard.rows, shard.tokens
        (True, 28, 308)
    """

    name: str
    rows: int
    tokens: int
    pieces: int
    num_bytes: int
    sha256: str
    first_row: int


@dataclass(frozen=True)
class SplitInfo:
    """One split of a dataset: its shards, and how long its documents are.

    Args:
        shards: in the order of their rows.
        length_histogram: entry i counts pieces of i * bin_width + 1 to (i + 1) * bin_width tokens.
        histogram_bin_width: bin_width, tokens.

    Example:

        >>> from clozekit.pipelines.dataset.manifest import SplitInfo, read_manifest
        >>> split = read_manifest("tiny/dataset").splits["train"]
        >>> isinstance(split, SplitInfo), split.rows, split.tokens, split.pieces
        (True, 28, 308, 28)
    """

    shards: tuple[ShardInfo, ...]
    length_histogram: tuple[int, ...]
    histogram_bin_width: int

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @property
    def tokens(self) -> int:
        return sum(shard.tokens for shard in self.shards)

    @property
    def pieces(self) -> int:
        return sum(shard.pieces for shard in self.shards)


@dataclass(frozen=True)
class TokenizerInfo:
    """Which tokenizer made the ids of a dataset.

    Args:
        class_name: such as "BertTokenizer".
        sha256: `Tokenizer.sha256()`, over all that decides the ids.
        vocabulary_size: pieces.
        special_token_ids: role of a special token (`mask_token`) -> id.

    Example:

        >>> from clozekit.pipelines.dataset.manifest import TokenizerInfo, read_manifest
        >>> info = read_manifest("tiny/dataset").tokenizer
        >>> isinstance(info, TokenizerInfo), info.class_name, info.special_token_ids["mask_token"]
        (True, 'BertTokenizer', 4)
    """

    class_name: str
    sha256: str
    vocabulary_size: int
    special_token_ids: Mapping[str, int]


@dataclass(frozen=True)
class Manifest:
    """Everything a reader needs to know about a dataset.

    Args:
        build_id: hash of the inputs and settings.
        sequence_length: the most tokens a row has.
        settings: what decided the bytes.
        tokenizer: which one made the ids.
        inputs: the files it was made from.
        splits: name ("train", "validation") -> what it holds.
        counts: what became of every document, by reason.
        environment: versions of the libraries and the runner.
        dataset_sha256: over the shards' own.
        schema_version: of this format.

    Example:

        >>> from clozekit.pipelines.dataset.manifest import Manifest, read_manifest
        >>> manifest = read_manifest("tiny/dataset")
        >>> isinstance(manifest, Manifest), manifest.sequence_length, manifest.fill_rate("train")
        (True, 16, 0.6875)
    """

    build_id: str
    sequence_length: int
    settings: Mapping[str, Any]
    tokenizer: TokenizerInfo
    inputs: tuple[Mapping[str, Any], ...]
    splits: Mapping[str, SplitInfo]
    counts: Mapping[str, int]
    environment: Mapping[str, str]
    dataset_sha256: str
    schema_version: int = SCHEMA_VERSION

    @property
    def has_pairs(self) -> bool:
        """Whether rows hold sentence pairs: `segment_lengths` and `pair_labels` beside the other features."""
        return bool(self.settings.get("prepare", {}).get("pairs", "none") != "none")

    def fill_rate(self, split: str) -> float:
        """Share of the positions of `split` that hold a real token, 0 to 1."""
        info = self.splits[split]
        return info.tokens / (info.rows * self.sequence_length) if info.rows else 0.0


def dataset_fingerprint(splits: Mapping[str, SplitInfo]) -> str:
    """sha256 over the shards' own, so it depends on their bytes alone and not on how the input was listed."""
    described = {split: [shard.sha256 for shard in info.shards] for split, info in splits.items()}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def manifest_to_json(manifest: Manifest) -> str:
    fields = dataclasses.asdict(manifest)
    return json.dumps(sealed(fields, OWN_SHA256), indent=2, sort_keys=True) + "\n"


def splits_from_json(fields: Mapping[str, Mapping[str, Any]]) -> dict[str, SplitInfo]:
    """The splits that a manifest, or a fragment of a stream, names; checked before."""
    return {
        name: SplitInfo(
            tuple(ShardInfo(**shard) for shard in split["shards"]),
            tuple(split["length_histogram"]),
            split["histogram_bin_width"],
        )
        for name, split in fields.items()
    }


def manifest_from_json(text: str, source: str) -> Manifest:
    """Raises InputError naming `source` when `text` is not a manifest of this schema, or was changed since it was
    written."""
    fields = parse_object(text, source)
    written = fields.pop(OWN_SHA256, None)
    version = fields.get("schema_version")
    if isinstance(version, int) and not isinstance(version, bool) and version != SCHEMA_VERSION:
        raise InputError(
            f"the manifest schema must be {SCHEMA_VERSION}, {source} has {version};"
            " read it with the Clozekit that wrote it, or prepare the dataset again"
        )
    for problem in manifest_problems(fields):
        raise InputError(
            f"{source} must be a dataset manifest, it is damaged: {problem}; copy the dataset again, or run `clozekit"
            " prepare --overwrite`"
        )
    splits = splits_from_json(fields["splits"])
    if fields["dataset_sha256"] != dataset_fingerprint(splits):
        raise InputError(
            f"the dataset_sha256 of {source} must match its shards, it does not: the file was edited;"
            " run `clozekit prepare --overwrite` again"
        )
    if written is not None and written != sha256_of_fields(fields):
        raise InputError(
            f"the {OWN_SHA256} of {source} must match all of it, it does not: the file was edited;"
            " run `clozekit prepare --overwrite` again"
        )
    fields.update(splits=splits, tokenizer=TokenizerInfo(**fields["tokenizer"]), inputs=tuple(fields["inputs"]))
    return Manifest(**fields)


def manifest_path(directory: str) -> str:
    return f"{directory.rstrip('/')}/{MANIFEST_FILE}"


def has_manifest(directory: str) -> bool:
    filesystem, path = open_file_system(manifest_path(directory))
    return bool(filesystem.exists(path))


def read_manifest(directory: str) -> Manifest:
    """The manifest of the dataset in a directory.

    Args:
        directory: a local path or any fsspec URL such as gs://.

    Returns:
        The manifest, checked against its own hash.

    Raises:
        InputError: when there is none, or it is damaged or of another version.

    Example:

        >>> from clozekit.pipelines.dataset.manifest import read_manifest
        >>> read_manifest("tiny/dataset").counts["documents_in"]
        36
        >>> read_manifest("tiny")
        Traceback (most recent call last):
        clozekit.tokenizers.common.errors.InputError: a dataset directory must hold manifest.json, tiny does not: it is no
        dataset or its build did not finish; run `clozekit prepare` (again)
    """
    path = manifest_path(directory)
    if not has_manifest(directory):
        raise InputError(
            f"a dataset directory must hold {MANIFEST_FILE}, {directory} does not: it is no dataset or its build did"
            " not finish; run `clozekit prepare` (again)"
        )
    filesystem, name = open_file_system(path)
    # A device or a pipe may never end.
    size = filesystem.size(name) if filesystem.isfile(name) else None
    if size is None or size > _MAX_BYTES:
        what = "something else" if size is None else f"one of {size:,} bytes"
        raise InputError(
            f"a manifest must be a file of at most {_MAX_BYTES:,} bytes, {path} is {what}; copy the dataset again"
        )
    return manifest_from_json(filesystem.cat_file(name).decode("utf-8", errors="replace"), path)
