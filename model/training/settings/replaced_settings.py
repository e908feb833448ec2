"""The settings of replaced-token detection: how large the generator is, and what its samples and their detection count."""

from dataclasses import dataclass

from clozekit.tokenizers.settings.settings_files import check


@dataclass(frozen=True)
class ReplacedSettings:
    """ELECTRA's generator, and the weight of its discriminator.

    weight: of the discriminator's mean loss, that of the generator being 1. generator_size: the generator's hidden and intermediate
    values and heads, as a share of the discriminator's. generator_layers: its blocks, as a share too. temperature: what its logits are
    divided by before a token is drawn. A model of `init_from` that has a generator keeps that one.

    Raises:
        InputError: for a weight that is negative, a share that is not above 0 and at most 1, a temperature that is not above 0.

    Source: Clark et al. 2020 (arXiv 2003.10555), table 6 (weight 50, a quarter for the small model, a third for the base one), and
        `configure_pretraining.py` of its code for the rest.

    Example:

        >>> from clozekit.model.training.settings.replaced_settings import ReplacedSettings
        >>> ReplacedSettings().generator_sizes({"num_layers": 12, "num_heads": 4, "hidden_dim": 256, "intermediate_dim": 1024})
        {'num_generator_layers': 12, 'num_generator_heads': 1, 'generator_hidden_dim': 64, 'generator_intermediate_dim': 256}
    """

    weight: float = 50.0
    generator_size: float = 0.25
    generator_layers: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check("replaced.weight must be at least 0", self.weight >= 0, self.weight)
        for name in ("generator_size", "generator_layers"):
            share = getattr(self, name)
            check(f"replaced.{name} must be above 0 and at most 1", 0 < share <= 1, share)
        check("replaced.temperature must be above 0", self.temperature > 0, self.temperature)

    def generator_sizes(self, discriminator: dict[str, int]) -> dict[str, int]:
        """The sizes of the generator, as a task takes them, of those of a discriminator: num_layers, num_heads, hidden_dim,
        intermediate_dim. Heads are as many as divide its hidden values, at most their share."""
        hidden_dim = max(1, round(discriminator["hidden_dim"] * self.generator_size))
        most = max(1, round(discriminator["num_heads"] * self.generator_size))
        return {
            "num_generator_layers": max(1, round(discriminator["num_layers"] * self.generator_layers)),
            "num_generator_heads": next(heads for heads in range(most, 0, -1) if hidden_dim % heads == 0),
            "generator_hidden_dim": hidden_dim,
            "generator_intermediate_dim": max(1, round(discriminator["intermediate_dim"] * self.generator_size)),
        }
