"""Speed of the tokenizers beside their peers: one core, one run, medians of 5, the ids compared beside every speed.

    python tests/benchmarks/tokenizers_benchmark.py --corpus docs.jsonl.gz --corpus wiki.txt --bert-vocabulary vocab.txt \\
        --into BENCHMARKS.md

Vocabularies of BPE and Unigram are learned on the corpora first. Needs the extra `parity`; a peer that is missing is
named and left out. `--into` puts the table between the marks of its section, or at the end of the file.
"""

import argparse
import gc
import gzip
import io
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

sys.path.insert(0, str(Path(__file__).parent))
from tables import header, put_into

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
NUM_RUNS = 5
# A run takes at least this long: texts are repeated for the fast ones.
LEAST_SECONDS = 0.5
GRAPH_BATCH = 256
PACKAGES = ["tokenizers", "sentencepiece", "tiktoken", "keras-hub", "tensorflow-text", "tensorflow", "numba", "numpy"]

Rows = Sequence[Sequence[int]]
Encode = Callable[[list[str]], Rows]


def read_corpus(path: Path, megabytes: float) -> list[str]:
    """Texts of a .jsonl(.gz) (field "text") or the lines of a text file, up to a number of megabytes."""
    open_ = gzip.open if path.suffix == ".gz" else open
    texts: list[str] = []
    size = 0
    with open_(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            text = json.loads(line)["text"] if ".jsonl" in path.name else line.rstrip("\n")
            size += len(text.encode())
            if size > megabytes * 1e6:
                break
            texts.append(text)
    return texts


def ours(tokenizer: Any) -> Encode:
    """Flat arrays, cut into rows only for the comparison."""
    import numpy as np

    def encode(texts: list[str]) -> Rows:
        batch = tokenizer.encode_batch(texts)
        return LazyRows(lambda: [row.tolist() for row in np.split(batch.token_ids, np.cumsum(batch.row_lengths)[:-1])])

    return encode


class LazyRows:
    """Rows that are made when they are compared, outside the measured time."""

    def __init__(self, make: Callable[[], Rows]) -> None:
        self.make = make


def in_tf_data(tokenize: Callable[[Any], Any]) -> Encode:
    import tensorflow as tf

    datasets: dict[tuple[int, int], Any] = {}

    def encode(texts: list[str]) -> Rows:
        # Made in the unmeasured run: a dataset is made and traced once and then read for hours.
        key = id(texts), len(texts)
        if key not in datasets:
            datasets[key] = tf.data.Dataset.from_tensor_slices(texts).batch(GRAPH_BATCH).map(tokenize)
        batches = list(datasets[key])
        return LazyRows(lambda: [row for batch in batches for row in batch.to_list()])

    return encode


def wordpiece_peers(vocabulary: Path) -> dict[str, Encode]:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

    tokenizer = BertTokenizer(vocabulary, lowercase=True)
    pieces = tokenizer.get_vocabulary()
    ids = {piece: i for i, piece in enumerate(pieces)}
    rust = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    rust.normalizer, rust.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    peers = {"Clozekit, batch": ours(tokenizer), "Clozekit, in tf.data": in_tf_data(tokenizer.tokenize)}
    peers["Hugging Face tokenizers, encode_batch_fast"] = hugging_face(rust)

    def tensorflow_text() -> dict[str, Encode]:
        import tensorflow as tf
        import tensorflow_text as tf_text

        exact = tf_text.BertTokenizer(str(vocabulary), lower_case=True, token_out_type=tf.int32)
        fast = tf_text.FastBertTokenizer(pieces, token_out_type=tf.int32, lower_case_nfd_strip_accents=True)
        return {
            "tensorflow-text BertTokenizer in tf.data": in_tf_data(lambda x: exact.tokenize(x).merge_dims(-2, -1)),
            "tensorflow-text FastBertTokenizer in tf.data": in_tf_data(fast.tokenize),
        }

    def keras_hub() -> dict[str, Encode]:
        import keras_hub

        theirs = keras_hub.models.BertTokenizer(vocabulary=pieces, lowercase=True, strip_accents=True)
        return {"keras-hub in tf.data": in_tf_data(theirs.tokenize)}

    return peers | optional("tensorflow-text", tensorflow_text) | optional("keras-hub", keras_hub)


def byte_pair_peers(texts: list[str]) -> dict[str, Encode]:
    from tokenizers import ByteLevelBPETokenizer

    from clozekit.tokenizers.byte_pair import byte_characters
    from clozekit.tokenizers.families.roberta_tokenizer import RobertaTokenizer

    learned = ByteLevelBPETokenizer()
    learned.train_from_iterator(texts, vocab_size=30_000, special_tokens=SPECIAL, show_progress=False)
    described = json.loads(learned.to_str())["model"]
    vocabulary, merges = described["vocab"], [tuple(merge) for merge in described["merges"]]
    rust = ByteLevelBPETokenizer(vocabulary, merges)
    tokenizer = RobertaTokenizer(vocabulary, merges)
    peers = {"Clozekit, batch": ours(tokenizer), "Clozekit, in tf.data": in_tf_data(tokenizer.tokenize)}
    peers["Hugging Face tokenizers, encode_batch_fast"] = hugging_face(rust._tokenizer)

    def tiktoken() -> dict[str, Encode]:
        import tiktoken

        byte_of = {character: byte for byte, character in enumerate(byte_characters())}
        pieces = [*byte_characters(), *(left + right for left, right in merges)]
        ranks = {bytes(byte_of[character] for character in piece): rank for rank, piece in enumerate(pieces)}
        # The fast form of the same expression, from tiktoken's own definition of GPT-2.
        pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
        theirs = tiktoken.Encoding("learned", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        ids = [vocabulary[piece] for piece in pieces]

        def encode(texts: list[str]) -> Any:
            rows = [theirs.encode_ordinary(text) for text in texts]
            return LazyRows(lambda: [[ids[rank] for rank in row] for row in rows])

        return {"tiktoken, encode_ordinary": encode}

    def keras_hub() -> dict[str, Encode]:
        import keras_hub

        theirs = keras_hub.models.RobertaTokenizer(vocabulary, [" ".join(merge) for merge in merges])
        return {"keras-hub in tf.data": in_tf_data(theirs.tokenize)}

    return peers | optional("tiktoken", tiktoken) | optional("keras-hub", keras_hub)


def sentence_piece_peers(texts: list[str]) -> dict[str, Encode]:
    import sentencepiece
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    from clozekit.tokenizers.families.xlm_roberta_tokenizer import XLMRobertaTokenizer
    from clozekit.tokenizers.formats.sentence_piece_proto import read_model

    out = io.BytesIO()
    lines = [line for text in texts for line in text.split("\n") if line][:200_000]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, vocab_size=16_000, num_threads=1, minloglevel=2
    )
    proto = out.getvalue()
    tokenizer = XLMRobertaTokenizer(proto)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=proto)
    final = [tokenizer.token_to_id(piece) for piece in read_model(proto, "").pieces]

    def shifted(encode: Callable[[list[str]], Any]) -> Encode:
        def run(texts: list[str]) -> Any:
            rows = encode(texts)
            return LazyRows(
                lambda: [[final[i] for i in row] for row in (rows.make() if isinstance(rows, LazyRows) else rows)]
            )

        return run

    model = read_model(proto, "")
    rust = Tokenizer(models.Unigram(list(zip(model.pieces, model.scores, strict=True)), 0, False))
    rust.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(model.precompiled_charsmap),
            normalizers.Strip(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    rust.pre_tokenizer = pre_tokenizers.Metaspace()
    peers = {"Clozekit, batch": ours(tokenizer), "Clozekit, in tf.data": in_tf_data(tokenizer.tokenize)}
    peers["Hugging Face tokenizers, encode_batch_fast"] = shifted(hugging_face(rust))
    peers["sentencepiece (C++), encode"] = shifted(lambda texts: theirs.encode(texts, num_threads=1))

    def tensorflow_text() -> dict[str, Encode]:
        import tensorflow_text as tf_text

        other = tf_text.SentencepieceTokenizer(proto)
        return {"tensorflow-text SentencepieceTokenizer in tf.data": shifted(in_tf_data(other.tokenize))}

    return peers | optional("tensorflow-text", tensorflow_text)


def hugging_face(rust: Any) -> Encode:
    def encode(texts: list[str]) -> Any:
        encodings = rust.encode_batch_fast(texts, add_special_tokens=False)
        return LazyRows(lambda: [encoding.ids for encoding in encodings])

    return encode


def optional(name: str, make: Callable[[], dict[str, Encode]]) -> dict[str, Encode]:
    try:
        return make()
    except ImportError as error:
        print(f"{name} is left out: {error}", file=sys.stderr)
        return {}


def measure(peers: dict[str, Encode], texts: list[str]) -> list[tuple[str, float, int]]:
    """(name, megabytes a second, number of texts with other ids than ours) of each, the first being ours."""
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    expected: Rows = []
    results = []
    for name, encode in peers.items():
        # Twice unmeasured: compilation, tracing, caches, and how long it takes.
        rows = made(encode(texts))
        expected = expected or rows
        different = sum(list(a) != list(b) for a, b in zip(rows, expected, strict=True))
        start = time.perf_counter()
        encode(texts)
        num_repeats = math.ceil(LEAST_SECONDS / (time.perf_counter() - start))
        # One long list: what starting a dataset costs is no part of the speed.
        repeated = texts * num_repeats if num_repeats > 1 else texts
        encode(repeated)
        seconds = []
        # As `timeit` does.
        gc.collect()
        gc.disable()
        for _ in range(NUM_RUNS):
            start = time.perf_counter()
            encode(repeated)
            seconds.append((time.perf_counter() - start) / num_repeats)
        gc.enable()
        results.append((name, megabytes / statistics.median(seconds), different))
        print(f"{name}: {results[-1][1]:.2f} MB/s, other ids on {different} of {len(texts)}", file=sys.stderr)
    return results


def made(rows: Any) -> Rows:
    return rows.make() if isinstance(rows, LazyRows) else rows


def render(tables: dict[str, dict[str, list[tuple[str, float, int]]]], texts: dict[str, list[str]]) -> str:
    lines = ["## Tokenizers", ""]
    lines.append(
        "MB of text a second on one core, median of 5 runs in one process, and on how many texts the ids differ"
    )
    lines.append(f"from Clozekit's. A speed on other ids is no speed. In tf.data: batches of {GRAPH_BATCH}.")
    sizes = (f"{n}: {sum(len(t.encode()) for t in ts) / 1e6:.1f} MB in {len(ts)} texts" for n, ts in texts.items())
    lines += ["", f"- data: {'; '.join(sizes)}", *header(PACKAGES)]
    for family, corpora in tables.items():
        lines += ["", f"### {family}", "", "| | " + " | ".join(f"{name} | other ids" for name in corpora) + " |"]
        lines.append("|---|" + "---:|---:|" * len(corpora))
        for rows in zip(*corpora.values(), strict=True):
            cells = [f"{speed:.2f} | {different}" for _, speed, different in rows]
            lines.append(f"| {rows[0][0]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", action="append", type=Path, required=True, help=".jsonl[.gz] or text; repeatable")
    parser.add_argument("--bert-vocabulary", type=Path, required=True, help="a vocab.txt of BERT uncased")
    parser.add_argument("--megabytes", type=float, default=4.0, help="of each corpus")
    parser.add_argument("--into", type=Path, help="Markdown file that gets the table")
    parser.add_argument("--family", action="append", choices=["wordpiece", "bpe", "unigram"], help="default: all")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    texts = {path.name.split(".")[0]: read_corpus(path, arguments.megabytes) for path in arguments.corpus}
    everything = [text for part in texts.values() for text in part]
    makers: dict[str, tuple[str, Callable[[], dict[str, Encode]]]] = {
        "wordpiece": ("WordPiece (BERT uncased)", lambda: wordpiece_peers(arguments.bert_vocabulary)),
        "bpe": ("Byte-level BPE, 30,000 pieces", lambda: byte_pair_peers(everything)),
        "unigram": ("SentencePiece Unigram, 16,000 pieces", lambda: sentence_piece_peers(everything)),
    }
    tables = {}
    for family in arguments.family or makers:
        title, make = makers[family]
        peers = make()
        tables[title] = {name: measure(peers, part) for name, part in texts.items()}
    section = render(tables, texts)
    print(section)
    if arguments.into:
        put_into(arguments.into, "tokenizers", section)


if __name__ == "__main__":
    main()
