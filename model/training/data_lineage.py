"""The links of what a run reads: a dataset with its corpus, tokenizer and recipe, or a stream."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from clozekit.model.presets.lineage import Lineage, linked
from clozekit.pipelines.dataset.chain import Genesis
from clozekit.pipelines.dataset.corpus_content import read_corpus_content
from clozekit.pipelines.dataset.manifest import Manifest, TokenizerInfo
from clozekit.tokenizers.settings.sealed_json import sha256_of_fields


def dataset_lineage(manifest: Manifest, directory: str | None = None) -> Lineage:
    """The lineage of a dataset. Its inputs' names and times stay out: they are those of one machine. directory: where it is; beside
    one that a workflow made stands the hash of its corpus."""
    splits = {
        name: {"rows": split.rows, "pieces": split.pieces, "tokens": split.tokens}
        for name, split in manifest.splits.items()
    }
    fields = {
        "dataset_sha256": manifest.dataset_sha256,
        "recipe_sha256": _recipe_sha256(manifest.settings),
        "sequence_length": manifest.sequence_length,
        "splits": splits,
    }
    content = None if directory is None else read_corpus_content(directory, manifest.dataset_sha256)
    before = {"corpus": [_corpus(manifest, content)], "tokenizer": [_tokenizer(manifest.tokenizer)]}
    return linked("dataset", fields, before)


def stream_lineage(genesis: Genesis) -> Lineage:
    """The lineage of a stream as it began; which of its fragments were read is said by the checkpoint that has read them."""
    fields = {
        "genesis_sha256": genesis.sha256,
        "recipe_sha256": _recipe_sha256(genesis.settings),
        "sequence_length": genesis.sequence_length,
    }
    return linked("stream", fields, {"tokenizer": [_tokenizer(genesis.tokenizer)]})


def _tokenizer(info: TokenizerInfo) -> Lineage:
    fields = {"class_name": info.class_name, "sha256": info.sha256, "vocabulary_size": info.vocabulary_size}
    return linked("tokenizer", fields)


def _corpus(manifest: Manifest, content: str | None) -> Lineage:
    """Known by what a manifest has of it that is the same wherever it lies: the sizes of the files and their sources, and how many
    documents they held; and by the hash of their content where that is known."""
    files, documents = _sizes(manifest.inputs), manifest.counts.get("documents_in", 0)
    fields = {
        "sha256": sha256_of_fields({"files": files, "documents": documents}),
        "num_files": len(files),
        "num_bytes": sum(size for _, size in files),
        "documents": documents,
        "content_sha256": content,
    }
    return linked("corpus", fields)


def _sizes(inputs: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    return sorted([str(file.get("source", "")), int(file["num_bytes"])] for file in inputs)


def _recipe_sha256(settings: Mapping[str, Any]) -> str:
    """Of how texts were read, cleaned and cut, without the places of the files that it names."""
    kept = copy.deepcopy(dict(settings))
    against = (kept.get("corpus") or {}).get("decontaminate") or {}
    if against.get("inputs"):
        against["inputs"] = _sizes(against["inputs"])
    return sha256_of_fields(kept)
