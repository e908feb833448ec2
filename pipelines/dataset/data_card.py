"""The data card of a dataset: one Markdown page that says what it holds, where it came from and how to read it."""

import json
from collections.abc import Sequence

from clozekit.pipelines.dataset.dataset_summary import Summary
from clozekit.pipelines.dataset.describe import histogram_lines
from clozekit.pipelines.dataset.manifest import Manifest

DATA_CARD_FILE = "data-card.md"
_MOST_INPUTS = 20


def render_data_card(summary: Summary) -> str:
    manifest = summary.manifest
    tokenizer = manifest.tokenizer
    lines = [
        "# Data card",
        "",
        f"Rows of up to {manifest.sequence_length} tokens for masked-language-model pretraining, made by Clozekit.",
        "",
        f"- dataset_sha256: `{manifest.dataset_sha256}`",
        f"- tokenizer: {tokenizer.class_name}, {tokenizer.vocabulary_size:,} pieces, sha256 `{tokenizer.sha256}`",
        f"- record: tf.train.Example with `token_ids`, `document_lengths`, `row_id`"
        f"{', `segment_lengths`, `pair_labels`' if manifest.has_pairs else ''} (int64 lists)",
        "",
        *_table(
            ("split", "shards", "rows", "documents or parts", "tokens", "fill rate", "MB"),
            [
                (
                    name,
                    f"{len(split.shards):,}",
                    f"{split.rows:,}",
                    f"{split.pieces:,}",
                    f"{split.tokens:,}",
                    f"{manifest.fill_rate(name):.4f}",
                    f"{sum(shard.num_bytes for shard in split.shards) / 1e6:.1f}",
                )
                for name, split in manifest.splits.items()
            ],
        ),
        "",
        *_validation_line(manifest),
        "## What became of the documents",
        "",
        *_table(("", "documents"), [(name, f"{number:,}") for name, number in summary.account]),
    ]
    if summary.languages:
        rows = [(name, f"{number:,}") for name, number in summary.languages.items()]
        lines += ["", "## Languages", "", *_table(("language", "documents"), rows)]
    for name, split in manifest.splits.items():
        lines += ["", f"## Lengths in {name}, tokens", "", "```", *histogram_lines(split), "```"]
    lines += ["", "## Samples of what was kept", "", *(_quoted(text) for text in summary.kept)]
    if summary.dropped:
        lines += ["", "## Samples of what was dropped", ""]
        lines += [f"{one.rule}:\n\n{_quoted(one.text)}" for one in summary.dropped]
    inputs = [f"- `{file['path']}`, {file['num_bytes']:,} bytes" for file in manifest.inputs[:_MOST_INPUTS]]
    if len(manifest.inputs) > _MOST_INPUTS:
        inputs.append(f"- and {len(manifest.inputs) - _MOST_INPUTS:,} more, all in the manifest")
    lines += ["", "## Inputs", "", *inputs]
    lines += ["", "## Settings", "", "```json", json.dumps(manifest.settings, indent=2, sort_keys=True), "```"]
    made = ", ".join(f"{name} {value}" for name, value in manifest.environment.items())
    return "\n".join([*lines, "", f"Made with {made}.", ""])


def _validation_line(manifest: Manifest) -> list[str]:
    drawn, train = (manifest.counts.get(f"documents_{split}", 0) for split in ("validation", "train"))
    asked = manifest.settings.get("prepare", {}).get("validation_rate")
    if asked is None or not drawn + train:
        return []
    return [
        f"Validation holds {drawn / (drawn + train):.3%} of the kept documents; {asked:.3%} were asked for. Duplicates go there"
        " only all together.",
        "",
    ]


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A Markdown table, numbers to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return ["| " + " | ".join(row).replace("\n", " ") + " |" for row in (header, rule, *rows)]


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines()) + "\n"
