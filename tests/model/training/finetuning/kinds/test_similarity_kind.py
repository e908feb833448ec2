"""Fine-tuning to scored pairs: cosines come near the scores, and what is no score is refused."""

import dataclasses
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clozekit.model import TextEmbedder
from clozekit.model.training.finetuning.evaluate_examples import evaluate_examples
from clozekit.model.training.finetuning.finetune import FinetuneRun
from clozekit.model.training.settings.finetune_settings import load_finetune_config
from clozekit.tokenizers.common.errors import InputError

ANIMALS, COLORS = ("cat", "dog", "bird"), ("red", "old")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs that tell of one animal (0.8) or of two (-0.2); raw.tsv has scores from 0 to 5."""
    folder = tmp_path_factory.mktemp("pairs")
    for name, seed, count in (("train", 0, 96), ("dev", 1, 32)):
        dice = random.Random(seed)
        rows = ["first\tsecond\tscore\n"]
        for _ in range(count):
            one, other = dice.choice(ANIMALS), dice.choice(ANIMALS)
            texts = [f"the {dice.choice(COLORS)} {animal} sat on the mat ." for animal in (one, other)]
            rows.append(f"{texts[0]}\t{texts[1]}\t{0.8 if one == other else -0.2}\n")
        (folder / f"{name}.tsv").write_text("".join(rows), encoding="utf-8")
    (folder / "raw.tsv").write_text("first\tsecond\tscore\na cat\ta dog\t0.5\na cat\tthe cat\t4.6\n", encoding="utf-8")
    return folder


def config_of(start: str, folder: Path, directory: Path, *changes: str) -> Any:
    files = [f"data.folder={folder}", "data.train=train.tsv", "data.validation=dev.tsv"]
    columns = ["data.text=first", "data.text_pair=second", "data.label=score"]
    course = ["train.epochs=6", "train.global_batch_size=16", "optimizer.learning_rate=0.02", "train.xla=false"]
    given = [f"init_from={start}", f"directory={directory}", "task=similarity", *files, *columns, *course, *changes]
    return load_finetune_config(None, given)


@pytest.mark.slow
def test_cosines_come_near_the_scores(start_preset: str, folder: Path, tmp_path: Path) -> None:
    run = FinetuneRun(config_of(start_preset, folder, tmp_path, "embedding.pooling=max"))
    result = run.train()
    metrics = result["metrics"]["dev"]
    assert result["metric"] == "spearman"
    assert metrics["loss"] < 0.05 and metrics["pearson"] > 0.9, metrics
    embedder = TextEmbedder.from_preset(run.preset_directory)
    assert embedder.pooling == "max"
    vectors = embedder.encode(
        ["the red cat sat on the mat .", "the old cat sat on the mat .", "the old dog sat on the mat ."]
    )
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]
    data = dataclasses.replace(run.config.data, train="dev.tsv", validation=())
    again = evaluate_examples(run.preset_directory, data, batch_size=8)
    assert again["task"] == "similarity"
    assert {name: again[name] for name in metrics} == pytest.approx(metrics, rel=1e-5)
    # Without scores it is measured by who finds whom.
    assert "mrr" in evaluate_examples(run.preset_directory, dataclasses.replace(data, label=None), batch_size=8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.train=raw.tsv"], "raw.tsv, line 3: a score must be a cosine, from -1 to 1, got 4.6; divide all scores"),
        (["data.label=null"], "task=similarity needs the columns of its files, data.label is not given"),
        (["data.test=dev.tsv"], "task=similarity has no use for data.test"),
        (["embedding.group_size=4"], "embedding.temperature and embedding.group_size are of task=embedding alone"),
        (["metric=mrr"], "the metric of a similarity must be one of spearman, pearson, got 'mrr'"),
        (["embedding.pooling=sum"], "embedding.pooling must be one of mean, cls, max, got 'sum'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    changes: list[str], message: str, start_preset: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        FinetuneRun(config_of(start_preset, folder, tmp_path / "run", *changes))
    assert not (tmp_path / "run").exists()


def test_the_largest_of_each_value_is_that_of_the_real_tokens(start_preset: str) -> None:
    embedder = TextEmbedder.from_preset(start_preset, pooling="max", normalize=False)
    rows = {name: np.asarray(value) for name, value in embedder.preprocessor(["the cat .", "the old dog ."]).items()}
    hidden = np.asarray(embedder.backbone(rows)["sequence_output"])
    real = rows["padding_mask"] > 0
    expected = [states[one].max(axis=0) for states, one in zip(hidden, real, strict=True)]
    np.testing.assert_allclose(embedder.encode(["the cat .", "the old dog ."]), expected, rtol=1e-5)
