"""The ready configurations of GLUE read small files that are laid out exactly as the published ones."""

from pathlib import Path
from typing import NamedTuple

import pytest

from clozekit.model.training.finetuning.finetune_data import read_finetune_data
from clozekit.model.training.finetuning.kinds.finetune_kind import kind_named
from clozekit.model.training.settings.finetune_settings import GLUE_FOLDER, load_finetune_config, ready_file
from clozekit.tokenizers.common.errors import InputError


class Task(NamedTuple):
    """Files by name, and what the first example of the train, validation and test files must be."""

    files: dict[str, str]
    train: tuple[str, str | None, str]
    labels: tuple[str, ...]
    validation: dict[str, tuple[str, str | None, str]]
    test: list[tuple[str, str | None]]
    metric: str


MRPC_HEADER = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
QQP_HEADER = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
STS_HEADER = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2"
MNLI_HEADER = (
    "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse"
    "\tsentence1\tsentence2"
)
MNLI_ROW = "0\t31193\t31193n\tgovernment\t( ( ) )\t( ( ) )\t(ROOT (NP))\t(ROOT (S))"
MNLI_DEV_HEADER = MNLI_HEADER + "\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label\n"


def both(header: str, *rows: str) -> str:
    return header + "".join(row + "\n" for row in rows)


TASKS = {
    # No header in train and dev; the second row has the mark of an ungrammatical sentence. Quotes stand alone.
    "cola": Task(
        {
            "train.tsv": "gj04\t1\t\t\"Our friends won't buy this analysis, let alone the next.\nks08\t0\t*\tThey drank the pub.\n",
            "dev.tsv": "gj04\t1\t\tThe sailors rode the breeze clear of the rocks.\nr-67\t0\t*\tWhat did you ask who saw?\n",
            "test.tsv": "index\tsentence\n0\tBill whistled past the house.\n",
        },
        ("\"Our friends won't buy this analysis, let alone the next.", None, "1"),
        ("0", "1"),
        {"dev": ("The sailors rode the breeze clear of the rocks.", None, "1")},
        [("Bill whistled past the house.", None)],
        "matthews",
    ),
    "sst-2": Task(
        {
            "train.tsv": both("sentence\tlabel\n", "hide new secretions from the parental units \t0", "that loves \t1"),
            "dev.tsv": both("sentence\tlabel\n", "it 's a charming and often affecting journey . \t1"),
            "test.tsv": both("index\tsentence\n", "0\tuneasy mishmash of styles and genres ."),
        },
        ("hide new secretions from the parental units ", None, "0"),
        ("0", "1"),
        {"dev": ("it 's a charming and often affecting journey . ", None, "1")},
        [("uneasy mishmash of styles and genres .", None)],
        "accuracy",
    ),
    # The published file begins with a byte-order mark.
    "mrpc": Task(
        {
            "train.tsv": both(
                "\ufeff" + MRPC_HEADER,
                '1\t702876\t702977\tAmrozi accused his brother of "distorting it.\tReferring to him as "the witness".',
                "0\t2108705\t2108831\tYucaipa owned Dominick's.\tYucaipa bought Dominick's.",
            ),
            "dev.tsv": both(MRPC_HEADER, "1\t1355540\t1355592\tHe said it.\tHe did say it."),
            "test.tsv": both(
                "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n", "0\t1089874\t1089925\tPCCW's chief.\tThe chief."
            ),
        },
        ('Amrozi accused his brother of "distorting it.', 'Referring to him as "the witness".', "1"),
        ("0", "1"),
        {"dev": ("He said it.", "He did say it.", "1")},
        [("PCCW's chief.", "The chief.")],
        "f1",
    ),
    # Some rows of the published file are cut short.
    "qqp": Task(
        {
            "train.tsv": both(
                QQP_HEADER,
                "133273\t213221\t213222\tHow is life?\tHow's it going?\t1",
                "402555\t536040\t536041\tHow do I control my",
                "360472\t364011\t490273\tWhat causes stool color?\tWhat is tau?\t0",
            ),
            "dev.tsv": both(QQP_HEADER, "201359\t303345\t303346\tWhy are African-Americans so beautiful?\tWhy?\t0"),
            "test.tsv": both("id\tquestion1\tquestion2\n", "0\tWould the idea work?\tWhich idea?"),
        },
        ("How is life?", "How's it going?", "1"),
        ("0", "1"),
        {"dev": ("Why are African-Americans so beautiful?", "Why?", "0")},
        [("Would the idea work?", "Which idea?")],
        "f1",
    ),
    "sts-b": Task(
        {
            "train.tsv": both(
                STS_HEADER + "\tscore\n",
                "0\tmain-captions\tMSRvid\t2012test\t0001\tnone\tnone\tA plane is taking off.\tAn air plane takes off.\t5.000",
                "1\tmain-captions\tMSRvid\t2012test\t0004\tnone\tnone\tA man plays a flute.\tA man eats.\t3.800",
            ),
            "dev.tsv": both(
                STS_HEADER + "\tscore\n",
                "0\tmain-captions\tMSRvid\t2012test\t0000\tnone\tnone\tA man dances.\tA man is dancing.\t4.75",
            ),
            "test.tsv": both(
                STS_HEADER + "\n",
                "0\tmain-captions\tMSRvid\t2012test\t0024\tnone\tnone\tA girl is styling.\tA girl brushes.",
            ),
        },
        ("A plane is taking off.", "An air plane takes off.", "5.000"),
        (),
        {"dev": ("A man dances.", "A man is dancing.", "4.75")},
        [("A girl is styling.", "A girl brushes.")],
        "pearson",
    ),
    # The files to validate on have five labels more before the one that counts.
    "mnli": Task(
        {
            "train.tsv": both(
                MNLI_HEADER + "\tlabel1\tgold_label\n",
                f"{MNLI_ROW}\tCream skimming has two dimensions.\tProduct has.\tneutral\tneutral",
                f"{MNLI_ROW}\tyou know during the season\tYou lose.\tentailment\tentailment",
                f"{MNLI_ROW}\tOne of us.\tNone.\tcontradiction\tcontradiction",
            ),
            "dev_matched.tsv": both(
                MNLI_DEV_HEADER,
                f"{MNLI_ROW}\tThe new rights.\tEveryone likes them.\tneutral\tentailment\tneutral\tneutral\tneutral\tneutral",
            ),
            "dev_mismatched.tsv": both(
                MNLI_DEV_HEADER,
                f"{MNLI_ROW}\tYour contribution.\tIt helps."
                "\tentailment\tentailment\tneutral\tentailment\tentailment\tentailment",
            ),
            "test_matched.tsv": both(MNLI_HEADER + "\n", f"{MNLI_ROW}\tHotels were rebuilt.\tThey were built."),
            "test_mismatched.tsv": both(MNLI_HEADER + "\n", f"{MNLI_ROW}\tWhat have you decided?\tSo what?"),
        },
        ("Cream skimming has two dimensions.", "Product has.", "neutral"),
        ("contradiction", "entailment", "neutral"),
        {
            "dev_matched": ("The new rights.", "Everyone likes them.", "neutral"),
            "dev_mismatched": ("Your contribution.", "It helps.", "entailment"),
        },
        [("Hotels were rebuilt.", "They were built."), ("What have you decided?", "So what?")],
        "accuracy",
    ),
    "qnli": Task(
        {
            "train.tsv": both(
                "index\tquestion\tsentence\tlabel\n",
                '0\tWhen did the third season begin?\tIt was "shown" in 2006.\tnot_entailment',
                "1\tWhich missile?\tThe missile BB-8.\tentailment",
            ),
            "dev.tsv": both("index\tquestion\tsentence\tlabel\n", "0\tWhat came?\tAs of that day.\tentailment"),
            "test.tsv": both("index\tquestion\tsentence\n", "0\tWhat organization?\tIn 1923."),
        },
        ("When did the third season begin?", 'It was "shown" in 2006.', "not_entailment"),
        ("entailment", "not_entailment"),
        {"dev": ("What came?", "As of that day.", "entailment")},
        [("What organization?", "In 1923.")],
        "accuracy",
    ),
    "rte": Task(
        {
            "train.tsv": both(
                "index\tsentence1\tsentence2\tlabel\n",
                "0\tNo weapons were found.\tWeapons were found.\tnot_entailment",
                "1\tA place of sorrow.\tPope Benedict is new.\tentailment",
            ),
            "dev.tsv": both(
                "index\tsentence1\tsentence2\tlabel\n", "0\tDana Reeve died.\tReeve had an accident.\tnot_entailment"
            ),
            "test.tsv": both("index\tsentence1\tsentence2\n", "0\tMangla was summoned.\tShe went."),
        },
        ("No weapons were found.", "Weapons were found.", "not_entailment"),
        ("entailment", "not_entailment"),
        {"dev": ("Dana Reeve died.", "Reeve had an accident.", "not_entailment")},
        [("Mangla was summoned.", "She went.")],
        "accuracy",
    ),
    "wnli": Task(
        {
            "train.tsv": both(
                "index\tsentence1\tsentence2\tlabel\n",
                "0\tI stuck a pin through a carrot. It had a hole.\tThe carrot had a hole.\t1",
                "1\tJohn couldn't see.\tBilly couldn't see.\t0",
            ),
            "dev.tsv": both("index\tsentence1\tsentence2\tlabel\n", "0\tThe drain is clogged.\tThe hair is.\t0"),
            "test.tsv": both("index\tsentence1\tsentence2\n", "0\tMaude and Dora had seen it.\tHorses ran."),
        },
        ("I stuck a pin through a carrot. It had a hole.", "The carrot had a hole.", "1"),
        ("0", "1"),
        {"dev": ("The drain is clogged.", "The hair is.", "0")},
        [("Maude and Dora had seen it.", "Horses ran.")],
        "accuracy",
    ),
}


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_configuration_of_a_task_reads_its_files(name: str, tmp_path: Path) -> None:
    task = TASKS[name]
    for file, content in task.files.items():
        (tmp_path / file).write_text(content, encoding="utf-8")
    config = load_finetune_config(f"glue/{name}", ["init_from=x", "directory=y", f"data.folder={tmp_path}"])
    data = read_finetune_data(config, kind_named(config.task))
    has_pairs = task.train[1] is not None
    train = data.train.examples
    assert (train.texts[0], train.pairs[0] if has_pairs else None, train.labels[0]) == task.train
    # All rows but the one of QQP that is cut.
    assert len(train) == len(task.files["train.tsv"].strip().split("\n")) - (name != "cola") - (name == "qqp")
    assert data.num_skipped == (name == "qqp")
    assert data.labels == task.labels
    for split in data.validation:
        first = (split.examples.texts[0], split.examples.pairs[0] if has_pairs else None, split.examples.labels[0])
        assert task.validation[split.name] == first
    assert [split.name for split in data.validation] == list(task.validation)
    tested = [(examples.texts[0], examples.pairs[0] if has_pairs else None) for examples in data.test]
    assert tested == task.test
    assert config.deciding_metric == task.metric
    assert config.task == ("regression" if name == "sts-b" else "classification")


def test_every_task_has_a_configuration_and_the_package_lists_them() -> None:
    assert sorted(path.stem for path in GLUE_FOLDER.glob("*.yaml")) == sorted(TASKS)
    setup = (Path(__file__).parents[4] / "setup.py").read_text(encoding="utf-8")
    assert '"clozekit.model.training": ["recipes/*.yaml", "recipes/glue/*.yaml"]' in setup


def test_a_file_of_ones_own_comes_before_the_ready_configurations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ready_file("glue/rte") == str(GLUE_FOLDER / "rte.yaml")
    with pytest.raises(InputError, match="the ready configurations are glue/cola, .* got glue/squad"):
        ready_file("glue/squad")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "glue").mkdir()
    (tmp_path / "glue" / "rte").write_text("{}", encoding="utf-8")
    assert ready_file("glue/rte") == "glue/rte"
    assert ready_file("gs://bucket/mine.yaml") == "gs://bucket/mine.yaml"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["train.epoch=2"], "has train.epoch; did you mean train.epochs"),
        (["data.lable=x"], "has data.lable; did you mean data.label"),
        (["data.train=null"], "data.train must be str"),
        (["task=ranking"], "task must be one of classification, regression, multi_label, token_classification,"),
        (["metric=pearson"], "the metric of a classification must be one of accuracy, f1, matthews, got 'pearson'"),
        (["task=embedding", "metric=mrr"], "task=embedding has no use for data.test"),
        (["task=question_answering", "metric=f1"], "task=question_answering has no use for data.text"),
        (
            ["task=token_classification", "data.text_pair=b"],
            "task=token_classification has no use for data.text_pair, got 'b'",
        ),
        (["embedding.pooling=cls"], "embedding is of task=embedding and task=similarity alone, task is classification"),
        (["task=regression", "metric=pearson", "data.labels=[a,b]"], "task=regression has none"),
        (["data.labels=[a,a]"], "data.labels must name each class once"),
        (["data.format=xls"], "data.format must be one of auto, tsv, csv, jsonl, conll, squad, got 'xls'"),
        (["data.validation_rate=1"], "data.validation_rate must be above 0 and below 1, got 1.0"),
        (["train.global_batch_size=0"], "train.global_batch_size must be at least 1, got 0"),
        (["optimizer.learning_rate=0"], "optimizer.learning_rate must be above 0"),
        (["train.precision=float8"], "train.precision must be one of float32"),
    ],
)
def test_a_configuration_that_breaks_a_rule_is_refused(changes: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_finetune_config("glue/rte", ["init_from=x", "directory=y", *changes])
