"""The type checker follows imports across the folders: a planted error in one is found from another."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

PLANTED = """
from clozekit.pipelines.dataset.manifest import ShardInfo
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

rows: str = ShardInfo("n", 1, 2, 3, 4, "s", 0).rows
size: str = BertTokenizer(["[PAD]"]).vocabulary_size()
"""


def test_a_planted_error_is_caught(tmp_path: Path) -> None:
    links = tmp_path / "typing" / "clozekit"
    links.mkdir(parents=True)
    for folder in ("pipelines", "model", "tokenizers", "deploy"):
        (links / folder).symlink_to(ROOT / folder)
    planted = tmp_path / "planted.py"
    planted.write_text(PLANTED, encoding="utf-8")
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--config-file",
            str(ROOT / "pyproject.toml"),
            "--cache-dir",
            str(tmp_path / "c"),
            str(planted),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"MYPYPATH": str(links.parent), "PATH": ""},
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout.count("Incompatible types in assignment") == 2
