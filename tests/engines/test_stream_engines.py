"""Stage A of a stream on real engines: the fragments of the embedded driver for the same panes."""

from pathlib import Path

from engine_streams import check_same_panes

from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer


def test_prism_freezes_the_same_panes(prism_program: Path, tokenizer: BertTokenizer, tmp_path: Path) -> None:
    check_same_panes(["--runner=PrismRunner", f"--prism_location={prism_program}"], tmp_path, tokenizer)


def test_flink_freezes_the_same_panes(flink_arguments: list[str], tokenizer: BertTokenizer, tmp_path: Path) -> None:
    check_same_panes(["--runner=FlinkRunner", *flink_arguments], tmp_path, tokenizer)
