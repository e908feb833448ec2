"""CPU seconds of `clozekit vocab` beside the learners of Hugging Face and SentencePiece, from a file to a vocabulary.

    python tests/benchmarks/learners_benchmark.py --corpus docs.jsonl.gz --into BENCHMARKS.md

Each in a process of its own with one thread, in turns, everything counted: start, reading, counting, merges, writing.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from processes import measure
from tables import header, put_into

ONE_THREAD = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
# The line of a peer: what it learns, from the texts of the file.
HUGGING_FACE = """
import tokenizers
special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
learner = tokenizers.{learner}
learner.train_from_iterator(texts, vocab_size={size}, special_tokens=special, show_progress=False)
learner.save_model({output!r})
"""
SENTENCE_PIECE = """
import io, sentencepiece
lines = (line for text in texts for line in text.split("\\n") if line)
out = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=lines, model_writer=out, vocab_size={size}, num_threads=1, minloglevel=2
)
"""
TEXTS = """
import gzip, json
lines = (gzip.open if {corpus!r}.endswith(".gz") else open)({corpus!r}, "rt", encoding="utf-8")
texts = (json.loads(line)["text"] for line in lines)
"""
# Family -> the peer's name and program.
PEERS = {
    "bert": ("Hugging Face, WordPiece", HUGGING_FACE.replace("{learner}", "BertWordPieceTokenizer(lowercase=True)")),
    "roberta": ("Hugging Face, byte-level BPE", HUGGING_FACE.replace("{learner}", "ByteLevelBPETokenizer()")),
    "albert": ("sentencepiece, unigram", SENTENCE_PIECE),
}
PACKAGES = ["tokenizers", "sentencepiece", "apache-beam", "numba", "numpy"]


def ours(corpus: Path, family: str, size: int, num_workers: int = 1) -> float:
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", "clozekit.deploy.cli", "vocab", "--family", family, "--input", str(corpus)]
        command += [
            "--output",
            f"{output}/out",
            "--vocabulary-size",
            str(size),
            "--num-workers",
            str(num_workers),
            "--json",
        ]
        return measure(command, ONE_THREAD).cpu_seconds


def theirs(corpus: Path, family: str, size: int) -> float:
    with tempfile.TemporaryDirectory() as output:
        program = (TEXTS + PEERS[family][1]).format(corpus=str(corpus), size=size, output=output)
        return measure([sys.executable, "-c", program], ONE_THREAD).cpu_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="JSON lines with the field text, .gz or not")
    parser.add_argument("--vocabulary-size", type=int, default=8000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--family", action="append", choices=list(PEERS), help="default: all")
    parser.add_argument("--into", type=Path, help="Markdown file that gets the table")
    arguments = parser.parse_args()
    corpus, size = arguments.corpus, arguments.vocabulary_size
    families = arguments.family or list(PEERS)
    # Compiled once a machine, when a vocabulary is first learned: not part of the speed.
    for family in families:
        ours(corpus, family, size)
    lines = [
        "## Learning vocabularies",
        "",
        f"`make bench-learners`. CPU seconds from the file to {size:,} pieces, all processes and their start, one thread each;",
        f"the median of {arguments.turns} turns and the range. The pieces are those that Clozekit has always learned. The kernels",
        "are compiled when a vocabulary is first learned on a machine, some 20 CPU-seconds once, which are not in the table.",
        "",
        *header(PACKAGES),
        "",
        "| | Clozekit | its peer | Clozekit's share, at most 0.5 | |",
        "|---|---:|---:|---:|---|",
    ]
    for family in families:
        turns = [(ours(corpus, family, size), theirs(corpus, family, size)) for _ in range(arguments.turns)]
        share = statistics.median(own / peer for own, peer in turns)
        cells = [
            f"{statistics.median(side):.1f} ({min(side):.1f} to {max(side):.1f})" for side in zip(*turns, strict=True)
        ]
        verdict = "met" if share <= 0.5 else "**missed**"
        lines.append(f"| {family}; {PEERS[family][0]} | {cells[0]} | {cells[1]} | {share:.2f} | {verdict} |")
        print(lines[-1], file=sys.stderr, flush=True)
    section = "\n".join(lines) + "\n"
    print(section)
    if arguments.into:
        put_into(arguments.into, "learners", section)


if __name__ == "__main__":
    main()
