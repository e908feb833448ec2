"""The card of a published model: what it says of a run, that it can be read by Hugging Face's library, and what it keeps back."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import small_families as small
import yaml

from clozekit.deploy.publish.model_card import CardFacts, render_model_card
from clozekit.deploy.publish.publish_preset import Published, publish
from clozekit.deploy.publish.publish_settings import PublishSettings
from clozekit.deploy.publish.run_facts import RunFacts, facts_of, without_places
from clozekit.model.training.controller import Run
from clozekit.model.training.run_directory.run_log import read_metrics
from clozekit.model.training.settings.loop_settings import CheckpointSettings
from clozekit.model.training.settings.run_settings import EvaluateSettings, ModelSettings, RunSettings, TrainSettings
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.tokenizers.common.errors import InputError


@pytest.fixture(scope="module")
def run(dataset: tuple[str, Manifest], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of four steps, saved and measured at the second and the fourth."""
    directory = tmp_path_factory.mktemp("secret-project") / "run"
    config = RunSettings(
        dataset[0],
        str(directory),
        model=ModelSettings(num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32),
        train=TrainSettings(steps=4, global_batch_size=8, steps_per_loop=2, xla=False),
        checkpoint=CheckpointSettings(every_steps=2, keep=9),
        evaluate=EvaluateSettings(every_steps=2, max_rows=16),
    )
    Run(config).train()
    return str(directory)


def dry(preset: str, target: str = "hf://me/mine", **options: Any) -> Published:
    return publish(PublishSettings(preset, target, **options), dry_run=True)


def row(card: str, name: str) -> str:
    """What the card's tables say beside a name."""
    (found,) = [line for line in card.splitlines() if line.startswith(f"| {name} |")]
    return found.split("|")[2].strip()


@pytest.mark.filterwarnings("ignore:transformers will compute")
def test_the_card_of_a_run_says_what_was_done_and_measured(run: str, dataset: tuple[str, Manifest]) -> None:
    published = dry(run, license="apache-2.0", languages=("en",), datasets=("me/texts",), hardware="two CPU cores")
    card, manifest = published.card, dataset[1]
    entries = read_metrics(f"{run}/metrics.jsonl")
    last = [entry for entry in entries if entry["kind"] == "validation"][-1]
    assert row(card, "steps") == "4" and row(card, "rows a step") == "8" and row(card, "hardware") == "two CPU cores"
    assert row(card, "begun from") == "random weights"
    assert row(card, "tokens seen") == f"{[e for e in entries if e['kind'] == 'train'][-1]['tokens_seen']:,}"
    assert float(row(card, "validation loss, nats a masked token")) == pytest.approx(last["loss"], rel=1e-3)
    assert row(card, "documents in") == "300" and manifest.dataset_sha256 in card
    assert "clozekit train config.yaml" in card
    # Its layers' training never reached a pooler, so none is published.
    assert "its pooler was never trained and is left out" in card
    assert set(published.files) >= {"README.md", "config.json", "model.safetensors", "tokenizer.json", "vocab.txt"}
    data = huggingface_hub.ModelCard(card).data
    assert (data.license, data.language, data.library_name, data.pipeline_tag, data.datasets) == (
        "apache-2.0", ["en"], "transformers", "fill-mask", ["me/texts"],
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:transformers will compute")
def test_a_card_tells_nothing_of_this_machine_and_quotes_no_texts(run: str, corpus: Path) -> None:
    card = dry(run).card
    assert "secret-project" not in card and str(Path(run).parent) not in card and str(corpus.parent) not in card
    # Whole sentences of the corpus, which a dataset's own card samples.
    assert not [line for line in corpus.read_text(encoding="utf-8").splitlines() if line[20:60] in card]
    assert without_places({"a": [{"path": "/home/me/x.txt"}], "init_from": "hf://a/b", "text": "one two", "n": 1}) == {
        "a": [{"path": "x.txt"}], "init_from": "hf://a/b", "text": "one two", "n": 1,
    }  # fmt: skip


def test_the_card_of_a_checkpoint_has_the_measures_of_its_step(run: str) -> None:
    entries = [entry for entry in read_metrics(f"{run}/metrics.jsonl") if entry["kind"] == "validation"]
    card = dry(f"{run}/step-2", "kaggle://me/mine/keras/base").card
    assert row(card, "steps") == "2"
    assert float(row(card, "validation loss, nats a masked token")) == pytest.approx(entries[0]["loss"], rel=1e-3)
    assert 'keras_hub.models.BertMaskedLM.from_preset("kaggle://me/mine/keras/base")' in card
    assert "transformers.pipeline" not in card
    for name in ("preset", "best"):
        facts = facts_of(f"{run}/{name}")
        assert facts is not None and facts.step in (2, 4) and facts.manifest is not None


def test_a_preset_without_a_run_says_that_nothing_is_known(tmp_path: Path) -> None:
    preset = str(tmp_path / "preset")
    labels = ("good", "bad", "neither")
    task = small.text_classifier("roberta", small.text_classifier_preprocessor("roberta"), labels=labels)
    task.save_to_preset(preset)
    card = dry(preset).card
    assert "nothing is known here of its data" in card and "## Measures" not in card
    assert "Classes: good, bad, neither." in card and "It takes 16 tokens at a time" in card
    assert yaml.safe_load(card.split("---\n")[1])["pipeline_tag"] == "text-classification"


def test_a_card_of_ones_own_is_taken_as_it_is_or_refused(tmp_path: Path) -> None:
    preset, own = str(tmp_path / "preset"), tmp_path / "card.md"
    small.masked_lm("roberta", small.masked_lm_preprocessor("roberta")).save_to_preset(preset)
    own.write_text("---\nlicense: mit\n---\nMine.\n", encoding="utf-8")
    assert dry(preset, card=str(own)).card == own.read_text(encoding="utf-8")
    for text, message in (
        ("", "is empty"),
        ("---\na: [\n---\n", "must be YAML"),
        ("---\n- a\n---\n", "keys with values"),
    ):
        own.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            dry(preset, card=str(own))
    with pytest.raises(InputError, match="--card must be a file of UTF-8 text, .*none.md can't be read"):
        dry(preset, card=str(tmp_path / "none.md"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "folder"}, "a preset is published at hf://, kaggle:// or a URL"),
        ({"layout": "onnx"}, "--format must be one of huggingface, keras_hub, clozekit"),
        ({"target": "kaggle://a/b/keras/c", "layout": "huggingface"}, "must be in KerasHub's layout"),
        ({"target": "gs://bucket/a", "private": True}, "a bucket's own rules say who reads it"),
        ({"target": "gs://bucket/a", "message": "a"}, "--message is for hf:// and kaggle://"),
        ({"license": "Apache 2.0!"}, "--license must be an id such as"),
        ({"languages": ("English",)}, "--language must be a code"),
        ({"datasets": ("a b",)}, "--dataset must be a name"),
        ({"card": "a.md", "license": "mit", "languages": ("en",)}, "got --card beside --license, --language"),
    ],
)
def test_settings_that_break_a_rule_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PublishSettings(**{"preset": "preset", "target": "hf://me/mine", **options})


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ("single_label", ["A text classifier: ", "Classes: a, b", "every text gets one of them"]),
        ("multi_label", ["A text classifier: ", "Labels: a, b", "a text gets any number of them, or none"]),
        ("regression", ["A text regression model: ", "It gives every text a number"]),
    ],
)
def test_the_card_of_a_classifier_says_what_its_outputs_are(problem: str, said: list[str]) -> None:
    labels = () if problem == "regression" else ("a", "b")
    config = {"init_from": "mine", "distill": {"teacher": "hf://big/teacher", "weight": 0.5}}
    facts = CardFacts(
        *("hf://me/mine", "huggingface", "bert", "text_classifier", "BertTextClassifier", "BertTextClassifier", {}),
        *("BertTokenizer", "[MASK]", 16, labels, problem),
        run=RunFacts("finetune", config, 4, (), None, {}),
    )
    card = render_model_card(facts)
    assert all(words in card for words in said)
    assert ("every text gets one" in card) == (problem == "single_label")
    assert row(card, "learned from") == "hf://big/teacher"


def test_the_card_of_an_electra_names_both_beginnings() -> None:
    config = {"init_from": "hf://big/discriminator", "replaced": {"generator": "hf://big/generator"}}
    facts = CardFacts(
        *("hf://me/mine", "huggingface", "electra", "masked_lm", "ElectraMaskedLM", "ElectraForMaskedLM", {}),
        *("ElectraTokenizer", "[MASK]", 16, (), None),
        run=RunFacts("train", config, 4, (), None, {}),
    )
    card = render_model_card(facts)
    assert row(card, "begun from") == "hf://big/discriminator"
    assert row(card, "its generator begun from") == "hf://big/generator"
    assert "base_model:\n- big/discriminator\n- big/generator\n" in card
    assert without_places({"replaced": {"generator": "/home/me/g"}}) == {"replaced": {"generator": "g"}}


def test_the_card_of_a_student_says_that_it_began_with_layers_of_its_teacher() -> None:
    config = {"distill": {"teacher": "hf://big/teacher", "init_student": "every_other"}}
    facts = CardFacts(
        *("hf://me/mine", "huggingface", "bert", "masked_lm", "BertMaskedLM", "BertForMaskedLM", {}),
        *("BertTokenizer", "[MASK]", 16, (), None),
        run=RunFacts("train", config, 4, (), None, {}),
    )
    card = render_model_card(facts)
    assert row(card, "begun from") == "every other layer of the model below"
