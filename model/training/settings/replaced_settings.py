"""The settings of replaced-token detection: which generator there is or how large a fresh one, and what its samples count."""

from dataclasses import dataclass

from clozekit.tokenizers.settings.settings_files import check

# Of a fresh generator: those of the small model, and as many layers.
_SHARES = {"generator_size": 0.25, "generator_layers": 1.0}


@dataclass(frozen=True)
class ReplacedSettings:
    """ELECTRA's generator, and the weight of its discriminator.

    weight: of the discriminator's mean loss, that of the generator being 1. generator_size: a fresh generator's hidden and intermediate
    values and heads, as a share of the discriminator's; 0.25 if not given. generator_layers: its blocks, as a share too; 1 if not given. temperature: what its logits are
    divided by before a token is drawn. A model of `init_from` that has a generator keeps that one. generator: the generator that the
    discriminator of `init_from` was trained with, a masked LM of its own in whatever `init_from` takes: a preset, or a run or a checkpoint of
    it; a fresh one if not given.

    Raises:
        InputError: for a weight that is negative, a share that is not above 0 and at most 1 or beside a generator that is there, a
            temperature that is not above 0.

    Source: Clark et al. 2020 (arXiv 2003.10555), table 6 (weight 50, a quarter for the small model, a third for the base one), and
        `configure_pretraining.py` of its code for the rest.

    Example:

        >>> from clozekit.model.training.settings.replaced_settings import ReplacedSettings
        >>> ReplacedSettings().generator_sizes({"num_layers": 12, "num_heads": 4, "hidden_dim": 256, "intermediate_dim": 1024})
        {'num_generator_layers': 12, 'num_generator_heads': 1, 'generator_hidden_dim': 64, 'generator_intermediate_dim': 256}
    """

    weight: float = 50.0
    generator_size: float | None = None
    generator_layers: float | None = None
    temperature: float = 1.0
    generator: str | None = None

    def __post_init__(self) -> None:
        check("replaced.weight must be at least 0", self.weight >= 0, self.weight)
        for name, usual in _SHARES.items():
            share = getattr(self, name)
            if self.generator is not None:
                rule = f"replaced.{name} is for a fresh generator, and replaced.generator has sizes of its own"
                check(rule, share is None, share, advice="leave it out, or null where a recipe has it")
                continue
            object.__setattr__(self, name, usual if share is None else share)
            check(f"replaced.{name} must be above 0 and at most 1", share is None or 0 < share <= 1, share)
        check("replaced.temperature must be above 0", self.temperature > 0, self.temperature)

    def generator_sizes(self, discriminator: dict[str, int]) -> dict[str, int]:
        """The sizes of a fresh generator, as a task takes them, of those of a discriminator: num_layers, num_heads, hidden_dim,
        intermediate_dim. Heads are as many as divide its hidden values, at most their share."""
        size, layers = (getattr(self, name) for name in _SHARES)
        hidden_dim = max(1, round(discriminator["hidden_dim"] * size))
        most = max(1, round(discriminator["num_heads"] * size))
        return {
            "num_generator_layers": max(1, round(discriminator["num_layers"] * layers)),
            "num_generator_heads": next(heads for heads in range(most, 0, -1) if hidden_dim % heads == 0),
            "generator_hidden_dim": hidden_dim,
            "generator_intermediate_dim": max(1, round(discriminator["intermediate_dim"] * size)),
        }
