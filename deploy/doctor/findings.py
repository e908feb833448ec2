"""`clozekit doctor`: what a machine and its storage lack for preparing and training, and what to do about it."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from clozekit.deploy.storage_errors import refusal
from clozekit.tokenizers.common.errors import InputError

OK, NOTE, RED = "ok", "note", "RED"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. status: OK; NOTE, it works but could be better; RED, something won't work.
    advice: what to do when it is not OK."""

    name: str
    status: str
    found: str
    advice: str = ""

    def __post_init__(self) -> None:
        assert self.status == OK or self.advice, f"{self.name} must say what to do"

    def __str__(self) -> str:
        return f"{self.status:<5}{self.name:<12}{self.found}" + (f"; {self.advice}" if self.advice else "")


Check = Callable[[], Iterable[Finding]]


def examine(checks: Sequence[tuple[str, Check]]) -> Iterable[Finding]:
    """The findings of all checks, each as soon as it is known; a check that raises is a red finding."""
    for name, check in checks:
        try:
            yield from check()
        except InputError as error:
            yield Finding(name, RED, *_found_and_advice(str(error)))
        # Whatever a library raises on a machine where something is wrong is what is looked for here.
        except Exception as error:
            line = refusal(error) or (
                f"{type(error).__name__}: {' '.join(str(error).split())[:300]}; reinstall with `make setup`"
            )
            yield Finding(name, RED, *_found_and_advice(line))


def _found_and_advice(line: str) -> tuple[str, str]:
    """The two halves of an InputError's line: what is wrong, what to do."""
    found, separator, advice = line.rpartition("; ")
    return (found, advice) if separator else (line, "correct it")


def to_json(findings: Sequence[Finding]) -> str:
    return json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2, ensure_ascii=False)
