"""A small tokenizer, backbone, preprocessor and tasks of each family, for the tests here and those of parity."""

import functools
import io
import unittest.mock
from typing import Any

import keras
import numpy as np

import clozekit.model
from clozekit.model.families.family_table import Family, family_named
from clozekit.tokenizers.common.family_names import FAMILIES
from clozekit.tokenizers.families.load_tokenizer import tokenizer_class
from clozekit.tokenizers.tokenizer import Tokenizer

NAMES = tuple(FAMILIES)
# KerasHub 0.32 has no ModernBERT, and of ELECTRA the backbone and the tokenizer alone.
IN_KERAS_HUB = tuple(name for name in NAMES if name not in ("modern_bert", "electra"))
WITH_SEGMENTS = ("bert", "albert", "electra")
WITH_PAIRS = ("bert", "albert")
# Those whose generators may have another width than their discriminators.
WITH_PROJECTION = ("albert", "electra")
TEXTS = [
    "the quick brown fox jumped over the lazy dog .",
    "i forgot my homework",
    "a dog",
    "the homework was quick and it was lazy",
]
WORDS = sorted({word for text in TEXTS for word in text.split() if len(word) > 1})
LETTERS = sorted({letter for text in TEXTS for letter in text if letter != " "})
SIZES: dict[str, Any] = {
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 24,
    "max_sequence_length": 32,
    "dropout": 0.0,
}
# Changes of a small backbone where weights go by their names: ALBERT's has two groups, and takes twice as long.
GROUPS: dict[str, dict[str, Any]] = {"albert": {"num_layers": 4, "num_groups": 2}}


@functools.cache
def tokenizer(name: str) -> Tokenizer:
    """Some words of TEXTS are one piece, others are several."""
    if name in ("bert", "distil_bert", "electra"):
        whole = ["quick", "the", "dog", "home", "##work", "##ed", "##gs"]
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
        return tokenizer_class(name)([*pieces, *whole], lowercase=True)
    if name == "roberta":
        special = ["<s>", "<pad>", "</s>", "<unk>"]
        merges = ["t h", "th e", "Ġ the", "Ġ d", "Ġd o", "Ġdo g", "q u", "qu i", "c k", "qui ck", "Ġ quick", "w o"]
        pieces = [*special, "Ġ", *LETTERS, *(merge.replace(" ", "") for merge in merges), "<mask>"]
        return clozekit.model.RobertaTokenizer({piece: i for i, piece in enumerate(pieces)}, merges)
    if name == "modern_bert":
        special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
        merges = ["t h", "th e", "Ġ the", "Ġ d", "Ġd o", "Ġdo g", "q u", "qu i", "c k", "qui ck", "Ġ quick", "w o"]
        pieces = ["Ġ", *LETTERS, *(merge.replace(" ", "") for merge in merges), *special]
        return clozekit.model.ModernBertTokenizer({piece: i for i, piece in enumerate(pieces)}, merges)
    if name == "albert":
        return clozekit.model.AlbertTokenizer(
            sentence_pieces(
                pad_id=0,
                unk_id=1,
                bos_id=2,
                eos_id=3,
                pad_piece="<pad>",
                unk_piece="<unk>",
                bos_piece="[CLS]",
                eos_piece="[SEP]",
                control_symbols="[MASK]",
            )  # fmt: skip
        )
    if name == "deberta_v3":
        ids = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]"}
        options: dict[str, Any] = {f"{part}_id": number for number, part in enumerate(ids)}
        options |= {f"{part}_piece": piece for part, piece in ids.items()}
        return clozekit.model.DebertaV3Tokenizer(sentence_pieces(**options))
    return clozekit.model.XLMRobertaTokenizer(sentence_pieces())


def sentence_pieces(**options: Any) -> bytes:
    """A model learned on TEXTS; its whitespace is kept as it is written."""
    import sentencepiece

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20), model_writer=out, vocab_size=45, hard_vocab_limit=False, minloglevel=2,
        num_threads=1, **options,
    )  # fmt: skip
    return out.getvalue()


def family(name: str) -> Family:
    return family_named(name)


def backbone(name: str, **changes: Any) -> Any:
    """With random weights far from the start's tiny ones, so that a wrong mask or position shows."""
    built = _fresh_backbone(name, **changes)
    randomize(built)
    return built


def _fresh_backbone(name: str, **changes: Any) -> Any:
    settings = {"vocabulary_size": tokenizer(name).vocabulary_size(), **SIZES}
    if name == "modern_bert":
        # Blocks of both kinds, and windows that are shorter than rows.
        settings |= {"num_layers": 2, "attention_window": 6}
    if name == "deberta_v3":
        # Rows are longer than what is told apart.
        settings |= {"bucket_size": 8}
    if name == "electra":
        settings |= {"embedding_dim": 8}
    if name == "albert":
        # One group of two layers, which is repeated; GROUPS has more of them.
        settings |= {"embedding_dim": 8, "num_layers": 2, "num_inner_repetitions": 2}
    return family(name).backbone(**{**settings, **changes})


def generator_sizes(name: str) -> dict[str, int]:
    """Of a generator beside the small backbone of a family, narrower where it can be; ModernBERT's has a block of each kind."""
    width = 4 if name in WITH_PROJECTION else SIZES["hidden_dim"]
    return {
        "num_generator_layers": 2 if name == "modern_bert" else 1,
        "num_generator_heads": 1,
        "generator_hidden_dim": width,
        "generator_intermediate_dim": 6,
    }


def randomize(model: Any, seed: int = 0) -> None:
    """Random weights of which none is zero or one: gammas around 1, the rest around 0."""
    dice = np.random.default_rng(seed)
    for variable in model.weights:
        centre = 1.0 if variable.path.endswith("gamma") else 0.0
        variable.assign((centre + 0.3 * dice.standard_normal(tuple(variable.shape))).astype("float32"))


def kept_weights(model: Any) -> list[np.ndarray]:
    """The weights that Hugging Face has a place for: all but ELECTRA's pooler, which nothing reads."""
    backbone = getattr(model, "backbone", model)
    unread = [] if backbone.has_used_pooler else [id(weight) for weight in backbone.pooled_dense.weights]
    return [np.asarray(weight) for weight in model.weights if id(weight) not in unread]


def masked_lm_preprocessor(name: str, **options: Any) -> Any:
    return family(name).masked_lm_preprocessor(tokenizer(name), **{"sequence_length": 16, **options})


def text_classifier_preprocessor(name: str, **options: Any) -> Any:
    return family(name).text_classifier_preprocessor(tokenizer(name), **{"sequence_length": 16, **options})


def set_seeds() -> None:
    """Keras's `set_random_seed(0)`, but TensorFlow keeps its kernels, which else are made anew for every operation of every
    model: a sixth of an eager `fit`. Only random operations that hold a state need new ones, and nothing of ours has those."""
    with unittest.mock.patch("tensorflow.python.pywrap_tfe.TFE_ContextClearCaches"):
        keras.utils.set_random_seed(0)


def masked_lm(
    name: str, preprocessor: Any = None, backbone_changes: dict[str, Any] | None = None, **options: Any
) -> Any:
    set_seeds()
    task = family(name).masked_lm(_fresh_backbone(name, **(backbone_changes or {})), preprocessor, **options)
    randomize(task.masked_lm_head, seed=1)
    randomize(task.backbone)
    return task


def text_classifier(name: str, preprocessor: Any = None, num_classes: int = 3, **options: Any) -> Any:
    set_seeds()
    task = family(name).text_classifier(
        _fresh_backbone(name), num_classes=num_classes, preprocessor=preprocessor, **{"dropout": 0.0, **options}
    )
    randomize(task, seed=1)
    return task


def batch(name: str, batch_size: int = 3, length: int = 12, slots: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows of different length, a first and a second segment, mask positions of which one is the last of its row."""
    dice = np.random.default_rng(seed)
    size = tokenizer(name).vocabulary_size()
    lengths = np.array([length, *dice.integers(slots + 1, length, batch_size - 1)])
    places = np.arange(length)
    rows = {
        "token_ids": dice.integers(0, size, (batch_size, length)).astype("int32"),
        "padding_mask": (places[None, :] < lengths[:, None]).astype("int32"),
        "mask_positions": np.stack(
            [np.sort(np.append(dice.choice(used - 1, slots - 1, replace=False), used - 1)) for used in lengths]
        ).astype("int32"),
    }
    if name in WITH_SEGMENTS:
        rows["segment_ids"] = (places[None, :] >= lengths[:, None] // 2).astype("int32") * rows["padding_mask"]
    return rows


def labels(name: str, rows: dict[str, np.ndarray], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """mask_ids and mask_weights for `batch`; the first row's first slot is unused."""
    shape = rows["mask_positions"].shape
    ids = np.random.default_rng(seed).integers(0, tokenizer(name).vocabulary_size(), shape).astype("int32")
    weights = np.ones(shape, "float32")
    weights[0, 0] = 0
    return ids, weights
