"""The estimate of costs: by hand for one case, in proportion to what it must be, refusals, the screen."""

import pytest

from clozekit.deploy.cli.main import main
from clozekit.deploy.cost_settings import CostSettings
from clozekit.deploy.costs import BUILTIN_PRESETS, dimensions_of, estimate
from clozekit.tokenizers.common.errors import InputError


def test_the_formula_by_hand() -> None:
    costs = estimate(CostSettings(10.0, epochs=2.0, num_accelerators=4, vcpu_price=0.05, accelerator_price=3.0))
    # 10,000 MB x 0.091 x 2 / 3600, on 16 vCPUs.
    assert costs.vcpu_hours == pytest.approx(0.50556, rel=1e-4)
    assert costs.prepare_hours == pytest.approx(0.031597, rel=1e-4)
    # 3 x (12 x (8 x 768^2 + 4 x 768 x 3072 + 4 x 768 x 512) + 0.15 x (2 x 768 x 30522 + 2 x 768^2))
    assert costs.flops_per_token == pytest.approx(588_091_613, rel=1e-3)
    assert costs.tokens == pytest.approx(6.32e9)
    hours = 6.32e9 * costs.flops_per_token / (312e12 * 0.3) / 3600
    assert (costs.accelerator_hours, costs.train_hours) == (pytest.approx(hours), pytest.approx(hours / 4))
    assert costs.prepare_price == pytest.approx(costs.vcpu_hours * 0.05)
    assert costs.train_price == pytest.approx(hours * 3)


def test_every_built_in_model_can_be_estimated() -> None:
    flops = {name: estimate(CostSettings(1.0, name)).flops_per_token for name in BUILTIN_PRESETS}
    assert flops["bert_tiny_en_uncased"] == min(flops.values())
    # ALBERT shares its weights, not its work.
    assert dimensions_of("albert_base_en_uncased").embedding_dim == 128
    assert flops["albert_base_en_uncased"] == pytest.approx(flops["bert_base_en_uncased"], rel=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corpus_gb": 0.0}, "corpus_gb must be above 0, got 0.0"),
        ({"utilization": 1.5}, "utilization must be a share from 0 to 1, got 1.5"),
        ({"overhead": 0.5}, "overhead must be at least 1, got 0.5"),
        ({"model": "gpt"}, "model must be one of .*, got 'gpt'"),
        ({"accelerator": "abacus"}, "accelerator must be one of t4, .*, got 'abacus'"),
    ],
)
def test_costs_that_can_not_be_estimated_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CostSettings(**{"corpus_gb": 1.0, **change})  # type: ignore[arg-type]


def test_the_screen_names_what_was_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["costs", "--corpus-gb", "100", "--accelerator", "h100", "--num-accelerators", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["corpus", "model", "prepare", "train", "assumed"]
    assert "0.091 CPU-seconds a MB x 2" in lines[-1]
    assert "price" not in lines[2] + lines[3]
