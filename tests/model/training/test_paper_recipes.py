"""The recipes of the objectives' papers, on tiny models and rows: the settings of each are the paper's, and it trains and ends."""

import dataclasses
from pathlib import Path

import pytest
import small_families as families
from long_variants import FULL

from clozekit.deploy.recipes import TRAIN, find_recipe
from clozekit.model.training.controller import Run
from clozekit.model.training.run_directory.run_log import METRICS_FILE, read_metrics
from clozekit.model.training.settings.run_file import load_config
from clozekit.model.training.settings.run_settings import BatchRampSettings, RunSettings
from clozekit.model.training.stages import stages_of
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings

STEPS = 200 if FULL else 4
# Recipe -> family and the pairs that its dataset has.
RECIPES = {
    "bert_base": ("bert", "next"),
    "albert_base": ("albert", "order"),
    "mmbert_base": ("modern_bert", "none"),
    "modern_bert_base": ("modern_bert", "none"),
    "electra_small": ("electra", "none"),
    "deberta_v3_base": ("deberta_v3", "none"),
}


def small(config: RunSettings, dataset: str, directory: str) -> RunSettings:
    """The recipe with few small layers, small batches and STEPS steps; all else is its own."""
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "max_sequence_length": None}
    more = {} if config.model.embedding_dim is None else {"embedding_dim": 8}
    model = dataclasses.replace(config.model, preset=None, **sizes, **more)
    phases, left = [], STEPS
    for number, phase in enumerate(config.train.phases, start=1):
        others = len(config.train.phases) - number
        share = round(phase.steps * STEPS / config.train.last_step)
        steps = min(max(1, share), left - others) if others else left
        left -= steps
        rows = {"global_batch_size": 8 if phase.global_batch_size else None, "micro_batch_size": None}
        phases.append(dataclasses.replace(phase, steps=steps, dataset=None, **rows))
    ramp = config.train.batch_ramp and BatchRampSettings(first_batch_size=4, steps=1, num_sizes=1)
    train = dataclasses.replace(
        config.train,
        batch_ramp=ramp,
        steps=STEPS,
        phases=tuple(phases),
        global_batch_size=8,
        micro_batch_size=4,
        xla=False,
        steps_per_loop=1,
    )
    return dataclasses.replace(config, dataset=dataset, directory=directory, model=model, train=train)


def test_modern_berts_phases_have_the_tokens_of_its_paper() -> None:
    """50 billion while the batch grows from 768 to 4,608 rows, 1,719 with the rest of them, then 300; 3 of warm-up, 50 of decay."""
    recipe = load_config(find_recipe("modern_bert_base", TRAIN))
    lengths = {"dataset/1024": 1024, "dataset/8192": 8192}

    def billions(first: float, last: float) -> float:
        steps = [(min(stage.end_step, last) - max(stage.first_step, first), stage) for stage in stages_of(recipe)]
        return sum(max(0, n) * stage.global_batch_size * lengths[stage.dataset] for n, stage in steps) / 1e9

    ramp, (first, second), end = recipe.train.batch_ramp, recipe.train.phases, recipe.train.last_step
    assert ramp is not None
    assert billions(0, ramp.steps) == pytest.approx(50, rel=0.01)
    assert billions(0, first.steps) == pytest.approx(1719, rel=0.01)
    assert billions(first.steps, end) == pytest.approx(300, rel=0.01) and first.steps + second.steps == end
    assert billions(0, recipe.optimizer.warmup_rate * end) == pytest.approx(3, rel=0.01)
    assert billions((1 - recipe.optimizer.decay_rate) * end, end) == pytest.approx(50, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_of_an_objective_trains(name: str, corpus: Path, tmp_path: Path) -> None:
    family, pairs = RECIPES[name]
    families.tokenizer(family).save(tmp_path / "tokenizer")
    options = PrepareSettings(sequence_length=32, pairs=pairs, validation_rate=0.1, num_shards=1)
    prepare(ReadSettings((str(corpus),)), options, str(tmp_path / "tokenizer"), str(tmp_path / "data"))
    recipe = load_config(find_recipe(name, TRAIN))
    metrics = Run(small(recipe, str(tmp_path / "data"), str(tmp_path / "run"))).train()
    assert metrics["loss"] > 0
    assert ("pair_accuracy" in metrics) == (pairs != "none")
    assert ("detection_auc" in metrics) == (name in ("electra_small", "deberta_v3_base"))
    entries = [entry for entry in read_metrics(tmp_path / "run" / METRICS_FILE) if entry["kind"] == "train"]
    assert entries[-1]["step"] == STEPS
    if name == "mmbert_base":
        shares = [entry["masked_share"] for entry in entries]
        # 30% and 5% of all but the special tokens.
        assert shares[0] > 0.2 > 0.12 > shares[-1]
