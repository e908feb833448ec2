"""Following panes: what was frozen is committed once, or as it comes until it is to stop."""

from pathlib import Path

import pytest
from streams import begin, chain_bytes, document, pane

from clozekit.deploy.cli.main import main
from clozekit.pipelines.dataset.chain import read_chain
from clozekit.pipelines.streaming.commit_pane import Committer, freeze
from clozekit.pipelines.streaming.follow_panes import follow_panes
from clozekit.pipelines.streaming.pane import Pane
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer


def three(tokenizer: BertTokenizer) -> list[Pane]:
    return [pane(tokenizer, [document(number) for number in range(5 * at, 5 * at + 5)], window=at) for at in range(3)]


def test_what_waits_is_committed_the_oldest_window_first(
    tmp_path: Path, tokenizer: BertTokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    stream = begin(one, tokenizer)
    for each in reversed(three(tokenizer)):
        freeze(stream, each)
    assert main(["stream", "commit", str(one)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert (len(said), said[-1]) == (4, "3 panes committed")
    stream = begin(other, tokenizer)
    for each in three(tokenizer):
        Committer(stream).commit(freeze(stream, each).name)
    assert chain_bytes(one) == chain_bytes(other)
    assert follow_panes(str(one)) == 0


def test_panes_that_come_are_committed_until_it_is_to_stop(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    stream = begin(tmp_path, tokenizer)
    coming = three(tokenizer)

    def read_all() -> list[int]:
        return [fragment.number for fragment in read_chain(str(tmp_path))]

    def sleep(seconds: float) -> None:
        if coming:
            freeze(stream, coming.pop(0))

    number = follow_panes(
        str(tmp_path), waits=True, is_stopped=lambda: not coming and len(read_all()) == 3, sleep=sleep
    )

    assert (number, read_all()) == (3, [0, 1, 2])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["commit"], "takes one stream, got 0"),
        (["commit", "a", "b"], "takes one stream, got 2"),
        (["commit", "a", "--json"], "--json is for `verify`"),
        (["commit", "a", "--metrics", "m"], "--metrics and --prometheus are for"),
        (["verify", "a", "--follow"], "--follow is for `commit`, got it with verify"),
        (["recipe.yaml", "--follow"], "--follow is for `commit`, got it with recipe.yaml"),
        (["recipe.yaml", "--panes"], "--panes is for `prune`, got it with recipe.yaml"),
        (["list", "a", "--dry-run"], "--dry-run is for `prune`, got it with list"),
        (["prune", "a", "--retain-windows", "0"], "retain_windows must be at least 1, got 0"),
        (["prune", "a", "--json"], "--json is for `verify`"),
        (["prune"], "takes one stream, got 0"),
    ],
)
def test_options_that_a_word_has_not_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stream", *words]) == 2
    assert message in capsys.readouterr().err
