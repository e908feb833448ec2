"""The settings of replaced-token detection: which generator there is or how large a fresh one, and what its samples count."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.settings_files import check

# Of a fresh generator: where embeddings are projected onto the blocks those of ELECTRA's small model, with as many layers; where
# they are not, the width is the discriminator's, and as DeBERTa V3 it has half the layers.
_PROJECTED = {"generator_size": 0.25, "generator_layers": 1.0}
_AS_WIDE = {"generator_size": 1.0, "generator_layers": 0.5}


@dataclass(frozen=True)
class ReplacedSettings:
    """The generator of replaced-token detection, and the weight of its discriminator.

    weight: of the discriminator's mean loss, that of the generator being 1. generator_size: a fresh generator's hidden and intermediate
    values and heads, as a share of the discriminator's; if not given 0.25, and 1, the only one they can have, for families without a
    projection between embeddings and blocks (all but ALBERT and ELECTRA). generator_layers: its blocks, as a share too; 1 if not given,
    without a projection 0.5. temperature: what its logits are
    divided by before a token is drawn. A model of `init_from` that has a generator keeps that one. generator: the generator that the
    discriminator of `init_from` was trained with, a masked LM of its own in whatever `init_from` takes: a preset, or a run or a checkpoint of
    it; a fresh one if not given. disentangled: whether the generator has embeddings of its own, to which the discriminator's add a table
    that detection alone trains, so that its gradients do not reach the generator; false, which is the default: the two share their
    embeddings.

    Raises:
        InputError: for a weight that is negative, a share that is not above 0 and at most 1 or beside a generator that is there, a
            temperature that is not above 0.

    Source: Clark et al. 2020 (arXiv 2003.10555), table 6 (weight 50, a quarter for the small model, a third for the base one), and
        `configure_pretraining.py` of its code for the rest; He et al. 2021 (arXiv 2111.09543), section 3 (as wide, half the layers;
        gradient-disentangled embedding sharing).

    Example:

        >>> from clozekit.model.training.settings.replaced_settings import ReplacedSettings
        >>> bert = {"num_layers": 12, "num_heads": 4, "hidden_dim": 256, "intermediate_dim": 1024}
        >>> ReplacedSettings().generator_sizes(bert)
        {'num_generator_layers': 6, 'num_generator_heads': 4, 'generator_hidden_dim': 256, 'generator_intermediate_dim': 1024}
        >>> ReplacedSettings().generator_sizes({**bert, "embedding_dim": 128})
        {'num_generator_layers': 12, 'num_generator_heads': 1, 'generator_hidden_dim': 64, 'generator_intermediate_dim': 256}
    """

    weight: float = 50.0
    generator_size: float | None = None
    generator_layers: float | None = None
    temperature: float = 1.0
    generator: str | None = None
    disentangled: bool | None = None

    def __post_init__(self) -> None:
        check("replaced.weight must be at least 0", self.weight >= 0, self.weight)
        for name in _PROJECTED:
            share = getattr(self, name)
            if self.generator is not None:
                rule = f"replaced.{name} is for a fresh generator, and replaced.generator has sizes of its own"
                check(rule, share is None, share, advice="leave it out, or null where a recipe has it")
                continue
            check(f"replaced.{name} must be above 0 and at most 1", share is None or 0 < share <= 1, share)
        check("replaced.temperature must be above 0", self.temperature > 0, self.temperature)

    def spelled_out(self, discriminator: Mapping[str, Any]) -> Self:
        """The same with what is not given, for a discriminator of these constructor arguments. Raises InputError for a generator that
        could not share its embeddings."""
        if self.generator is not None:
            return self
        is_projected = "embedding_dim" in discriminator
        usual = _PROJECTED if is_projected else _AS_WIDE
        if not is_projected and self.generator_size not in (None, 1):
            raise InputError(
                "replaced.generator_size must be 1 where embeddings are not projected onto the blocks, which share them with the"
                f" generator's and have their width, got {self.generator_size}; leave it out, and make the generator smaller by"
                " replaced.generator_layers"
            )
        given = {name: getattr(self, name) for name in usual if getattr(self, name) is not None}
        return dataclasses.replace(self, **{**usual, **given})

    def generator_sizes(self, discriminator: Mapping[str, Any]) -> dict[str, int]:
        """The sizes of a fresh generator, as a task takes them, for a discriminator of these constructor arguments: num_layers,
        num_heads, hidden_dim, intermediate_dim. Heads are as many as divide its hidden values, at most their share."""
        shares = self.spelled_out(discriminator)
        size, layers = shares.generator_size or 1.0, shares.generator_layers or 1.0
        hidden_dim = max(1, round(discriminator["hidden_dim"] * size))
        most = max(1, round(discriminator["num_heads"] * size))
        return {
            "num_generator_layers": max(1, round(discriminator["num_layers"] * layers)),
            "num_generator_heads": next(heads for heads in range(most, 0, -1) if hidden_dim % heads == 0),
            "generator_hidden_dim": hidden_dim,
            "generator_intermediate_dim": max(1, round(discriminator["intermediate_dim"] * size)),
        }
