"""What is on the screen of real commands and of Python: our own lines, whole, and none of the libraries'."""

import os
import re
import subprocess
import sys
from pathlib import Path

# As on a user's machine, where the tests' own variables are not set.
_OURS = ("TF_CPP_MIN_LOG_LEVEL", "GRPC_VERBOSITY", "KERAS_BACKEND", "CLOZEKIT_DEBUG")

COMMANDS = """
import sys
from clozekit.deploy.cli.main import main

corpus, folder = sys.argv[1:]
config = f"{folder}/train.yaml"
with open(config, "w") as stream:
    stream.write(f'''
dataset: {folder}/dataset
directory: {folder}/run
model: {{num_layers: 1, num_heads: 2, hidden_dim: 16, intermediate_dim: 32}}
train: {{steps: 4, global_batch_size: 4, steps_per_loop: 2}}
evaluate: {{every_steps: 4, max_rows: 8}}
checkpoint: {{every_steps: 4}}
''')
tokenizer = f"{folder}/tokenizer"
prepared = ["--tokenizer", tokenizer, "--output", f"{folder}/dataset", "--sequence-length", "32"]
for command in (
    ["vocab", "--input", corpus, "--output", tokenizer, "--vocabulary-size", "200"],
    ["prepare", "--input", corpus, *prepared, "--validation-rate", "0.1"],
    ["train", config],
    ["fill", f"{folder}/run/preset", "the [MASK] sat"],
    ["evaluate", f"{folder}/run/preset", "--dataset", f"{folder}/dataset", "--max-rows", "4"],
):
    assert main(command) == 0, command
"""

PYTHON = """
import sys
import clozekit.model as models
from clozekit.model import MaskedLM

task = MaskedLM.from_preset(sys.argv[1])
task.compile(optimizer="adam", jit_compile=True)
task.fit(["the cat sat on the mat"] * 4, batch_size=2, verbose=0)
print(len(task.fill_mask(["the [MASK] sat"])))
"""

PROGRESS = re.compile(
    r"(read|training|fine-tuning): [\d,.]+(%, [\d,.]+[kMG]? of [\d,.]+[kMG]?|[kMG]?) ?\w+ in [\d:]+, .*"
)


def run(program: str, *arguments: str) -> tuple[str, list[str]]:
    """Standard output, and the lines of standard error that are no progress."""
    environment = {name: value for name, value in os.environ.items() if name not in _OURS}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, env=environment, check=False, timeout=600
    )
    errors = done.stderr.decode()
    assert done.returncode == 0, errors
    assert "\r" not in errors and "\x1b" not in errors
    return done.stdout.decode(), [line for line in errors.splitlines() if not PROGRESS.fullmatch(line)]


def test_commands_and_python_show_no_lines_of_the_libraries(corpus: Path, tmp_path: Path) -> None:
    shown, errors = run(COMMANDS, str(corpus), str(tmp_path))
    assert errors == []
    assert "validation loss" in shown and "\r" not in shown
    shown, errors = run(PYTHON, str(tmp_path / "run" / "preset"))
    assert (shown, errors) == ("1\n", [])
