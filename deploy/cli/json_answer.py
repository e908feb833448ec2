"""`--json` of every verb with an answer: one JSON document on standard output, its keys in the help."""

import argparse
import contextlib
import json
import math
import sys
from dataclasses import dataclass
from typing import Any

# Of a dataset, by pipelines/dataset/describe.py.
DATASET_KEYS = ("dataset", "dataset_sha256", "sequence_length", "tokenizer", "splits", "counts")


@dataclass(frozen=True)
class JsonAnswer:
    """What a verb answers with --json: these keys, in this order, in every document. each: the keys of each entry, where the
    one key is a list."""

    keys: tuple[str, ...]
    each: tuple[str, ...] = ()

    def add_to(self, parser: argparse._ActionsContainer) -> None:
        parser.add_argument(
            "--json",
            action="store_true",
            help=f"print one JSON object, and nothing else on standard output: {', '.join(self.keys)}"
            + (f", each with {', '.join(self.each)}" if self.each else ""),
        )

    def show(self, **values: Any) -> None:
        assert tuple(values) == self.keys, f"an answer has the keys {self.keys}, got {tuple(values)}"
        print(json_text(values))


def kept_free(asked: bool) -> contextlib.AbstractContextManager[Any]:
    """While entered, and an answer in JSON is asked for, what is printed goes to standard error."""
    return contextlib.redirect_stdout(sys.stderr) if asked else contextlib.nullcontext()


def json_text(value: Any) -> str:
    """A value as JSON that every reader takes: what is no finite number is null."""
    return json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
