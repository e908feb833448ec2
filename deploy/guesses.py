"""Guesses of masked tokens as lines of text."""

from collections.abc import Sequence
from typing import Any


def show_guesses(text: str, guesses: Sequence[Sequence[Any]]) -> list[str]:
    """The text, and a line for each of its masks with the likeliest pieces as they read."""
    lines = [text]
    for number, best in enumerate(guesses, start=1):
        name = f"mask {number}" if len(guesses) > 1 else "mask"
        lines.append(f"  {name}: " + ", ".join(f"{readable(guess)} {guess.probability:.1%}" for guess in best))
    return lines


def readable(guess: Any) -> str:
    """How a piece reads; one that shows nothing (a space) is shown as it stands in the vocabulary."""
    return guess.text.strip() or guess.piece
