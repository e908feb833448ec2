"""What is masked, and how: the settings, checked when they are made. No TensorFlow."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from clozekit.tokenizers.common.errors import InputError

VALIDATION_SEED = 0
STRATEGIES = ("token", "whole_word", "span", "ngram")


@dataclass(frozen=True)
class MaskingRule:
    """Rates from 0 to 1, seed, and what the vocabulary says: its size, the mask token, the ids never touched."""

    mask_token_id: int
    vocabulary_size: int
    special_token_ids: tuple[int, ...]
    mask_selection_rate: float = 0.15
    mask_token_rate: float = 0.8
    random_token_rate: float = 0.1
    seed: int = 0
    # Ids that are never selected; None means the special ones.
    unselectable_token_ids: tuple[int, ...] | None = None
    # Prediction slots of a row; None means as many as the rate can ask for.
    num_slots: int | None = None
    strategy: str = "token"
    # bool (vocabulary_size,), True where a piece starts a word; all strategies but "token" need it.
    word_starts: np.ndarray | None = dataclasses.field(default=None, compare=False)
    # A function of the user's own that selects, in place of `strategy`; see `RowsToMask` of mask_rows.py.
    select: Callable[[Any], Any] | None = dataclasses.field(default=None, compare=False)

    # Whether each masked position gets a number by which a replacement for its token is drawn.
    has_dice: bool = False

    def __post_init__(self) -> None:
        for name in ("mask_selection_rate", "mask_token_rate", "random_token_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be a rate from 0 to 1, got {getattr(self, name)}")
        if self.mask_token_rate + self.random_token_rate > 1 + 1e-9:
            raise InputError(
                "mask_token_rate + random_token_rate must be at most 1, got"
                f" {self.mask_token_rate} + {self.random_token_rate}; lower one"
            )
        if self.select is None and self.strategy not in STRATEGIES:
            raise InputError(f"the masking strategy must be one of {', '.join(STRATEGIES)}, got {self.strategy!r}")
        if self.strategy != "token" and self.word_starts is None:
            raise InputError(f"the masking strategy {self.strategy} needs word_starts; pass tokenizer.word_starts()")

    def for_validation(self, mask_selection_rate: float) -> "MaskingRule":
        """Single tokens at another rate with a fixed seed, eight in ten of them the mask: all runs are measured on the same masks."""
        return dataclasses.replace(
            self,
            mask_selection_rate=mask_selection_rate,
            mask_token_rate=MaskingRule.mask_token_rate,
            random_token_rate=MaskingRule.random_token_rate,
            seed=VALIDATION_SEED,
            strategy="token",
            num_slots=None,
            select=None,
        )


def num_predictions(row_length: int, mask_selection_rate: float) -> int:
    """Prediction slots of a row: as many as the rate can ask for, so that none ever overflows."""
    return max(1, math.ceil(row_length * mask_selection_rate))
