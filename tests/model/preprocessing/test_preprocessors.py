"""Preprocessors: rows of ids from strings in eager mode and in tf.data, masks that repeat, clear errors."""

from typing import Any

import numpy as np
import pytest
import small_families as families
import tensorflow as tf
from long_variants import DISTINCT

import clozekit.model
from clozekit.tokenizers.common.errors import InputError


@pytest.fixture(params=families.NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def pieces(name: str, ids: Any) -> str:
    tokenizer = families.tokenizer(name)
    return " ".join(tokenizer.id_to_token(int(token_id)) for token_id in ids)


@pytest.mark.parametrize(
    ("name", "single", "pair", "segment_ids"),
    [
        (
            "bert",
            "[CLS] a dog [SEP] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD]",
            "[CLS] a dog [SEP] the home ##work [SEP] [PAD] [PAD] [PAD] [PAD]",
            [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0],
        ),
        (
            "distil_bert",
            "[CLS] a dog [SEP] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD]",
            "[CLS] a dog [SEP] the home ##work [SEP] [PAD] [PAD] [PAD] [PAD]",
            None,
        ),
        (
            "roberta",
            "<s> a Ġdog </s> <pad> <pad> <pad> <pad> <pad> <pad> <pad> <pad>",
            "<s> a Ġdog </s> </s> the Ġ h o m e </s>",
            None,
        ),
        (
            "albert",
            "[CLS] ▁a ▁dog [SEP] <pad> <pad> <pad> <pad> <pad> <pad> <pad> <pad>",
            "[CLS] ▁a ▁dog [SEP] ▁ t h e ▁homework [SEP] <pad> <pad>",
            [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0],
        ),
        (
            "xlm_roberta",
            "<s> ▁a ▁dog </s> <pad> <pad> <pad> <pad> <pad> <pad> <pad> <pad>",
            "<s> ▁a ▁dog </s> </s> ▁ t h e ▁homework </s> <pad>",
            None,
        ),
        (
            "electra",
            "[CLS] a dog [SEP] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD]",
            "[CLS] a dog [SEP] the home ##work [SEP] [PAD] [PAD] [PAD] [PAD]",
            [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0],
        ),
        (
            "modern_bert",
            "[CLS] a Ġdog [SEP] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD]",
            "[CLS] a Ġdog [SEP] the Ġ h o m e [SEP] [PAD]",
            None,
        ),
        (
            "deberta_v3",
            "[CLS] ▁a ▁dog [SEP] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD]",
            "[CLS] ▁a ▁dog [SEP] ▁ t h e ▁homework [SEP] [PAD] [PAD]",
            None,
        ),
    ],
    ids=families.NAMES,
)
def test_rows_of_a_text_and_of_a_pair(name: str, single: str, pair: str, segment_ids: list[int] | None) -> None:
    preprocessor = families.text_classifier_preprocessor(name, sequence_length=12)
    second = "the homework" if name not in ("roberta", "modern_bert") else "the home"
    row, both = preprocessor("a dog"), preprocessor(("a dog", second))
    assert pieces(name, row["token_ids"]) == single
    assert pieces(name, both["token_ids"]) == pair
    pad = families.tokenizer(name).special_token_names["pad_token"]
    assert both["padding_mask"].numpy().tolist() == [int(piece != pad) for piece in pair.split()]
    assert ("segment_ids" in both) == (segment_ids is not None)
    if segment_ids is not None:
        assert row["segment_ids"].numpy().tolist() == [0] * 12
        assert both["segment_ids"].numpy().tolist() == segment_ids
    # A batch of pairs, in whatever they come.
    for x in ((["a dog"], [second]), (np.array(["a dog"]), tf.constant([second]))):
        assert {key: value.numpy()[0].tolist() for key, value in preprocessor(x).items()} == {
            key: value.numpy().tolist() for key, value in both.items()
        }


@pytest.mark.parametrize(
    ("truncate", "expected"),
    [
        ("round_robin", "[CLS] the homework was [SEP] the dog [SEP]"),
        ("waterfall", "[CLS] the homework was lazy [SEP] the [SEP]"),
    ],
)
def test_truncation(truncate: str, expected: str) -> None:
    words = ["the", "homework", "was", "lazy", "dog"]
    tokenizer = clozekit.model.BertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])
    preprocessor = clozekit.model.BertTextClassifierPreprocessor(tokenizer, sequence_length=8, truncate=truncate)
    row = preprocessor(("the homework was lazy", "the dog was lazy"))["token_ids"]
    assert " ".join(tokenizer.id_to_token(int(token_id)) for token_id in row) == expected


@pytest.mark.slow
def test_everything_is_int32_but_the_weights(name: str) -> None:
    preprocessor = families.masked_lm_preprocessor(name, mask_selection_length=4)
    shapes = {"token_ids": (4, 16), "padding_mask": (4, 16), "mask_positions": (4, 4)}
    if name in families.WITH_SEGMENTS:
        shapes["segment_ids"] = (4, 16)
    found = [preprocessor(families.TEXTS)]
    if name in DISTINCT:
        mapped = tf.data.Dataset.from_tensor_slices(families.TEXTS).batch(4).map(preprocessor)
        found.append(next(iter(mapped)))
        # All but the number of rows is known before the first batch, so that XLA compiles once.
        assert {key: spec.shape.as_list()[1:] for key, spec in mapped.element_spec[0].items()} == {
            key: list(shape[1:]) for key, shape in shapes.items()
        }
    for x, y, sample_weight in found:
        assert {key: tuple(value.shape) for key, value in x.items()} == shapes
        assert {value.dtype for value in x.values()} == {tf.int32}
        assert (tuple(y.shape), y.dtype) == ((4, 4), tf.int32)
        assert (tuple(sample_weight.shape), sample_weight.dtype) == ((4, 4), tf.float32)
    x, y, sample_weight = preprocessor(families.TEXTS[0])
    assert {key: tuple(value.shape) for key, value in x.items()} == {key: shape[1:] for key, shape in shapes.items()}
    assert (tuple(y.shape), tuple(sample_weight.shape)) == ((4,), (4,))


def test_slots_are_sized_from_the_length_and_the_rate() -> None:
    assert families.masked_lm_preprocessor("bert").mask_selection_length == 3
    assert families.masked_lm_preprocessor("bert", sequence_length=128).mask_selection_length == 20
    assert families.masked_lm_preprocessor("bert", mask_selection_rate=0.5).mask_selection_length == 8
    assert families.masked_lm_preprocessor("bert", mask_selection_length=96).mask_selection_length == 96
    preprocessor = families.masked_lm_preprocessor("bert")
    preprocessor.sequence_length = 32
    assert preprocessor.mask_selection_length == 5
    assert preprocessor(families.TEXTS)[1].shape == (4, 5)


def in_dataset(preprocessor: Any, texts: Any, parallel: int | None = None) -> list[Any]:
    """The batches of two that a mapped dataset gives, as arrays."""
    batches = tf.data.Dataset.from_tensor_slices(texts).batch(2)
    mapped = batches.map(preprocessor, num_parallel_calls=parallel)
    return [tf.nest.map_structure(lambda part: part.numpy(), batch) for batch in mapped]


def assert_equal(one: Any, other: Any) -> None:
    for left, right in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
        assert (np.asarray(left) == np.asarray(right)).all()


@pytest.mark.slow
def test_the_stated_share_is_masked_in_eager_mode_and_in_a_graph(name: str) -> None:
    preprocessor = families.masked_lm_preprocessor(name, sequence_length=32, mask_selection_rate=0.2)
    classified = families.text_classifier_preprocessor(name, sequence_length=32)(families.TEXTS)
    lengths = classified["padding_mask"].numpy().sum(axis=1) - 2
    expected = [-(-int(length) // 5) for length in lengths]
    assert preprocessor(families.TEXTS)[2].numpy().sum(axis=1).tolist() == expected
    if name in DISTINCT:
        graph = np.concatenate([weights for _, _, weights in in_dataset(preprocessor, families.TEXTS)])
        assert graph.sum(axis=1).tolist() == expected


@pytest.mark.slow
def test_seeded_masks_repeat() -> None:
    texts = families.TEXTS * 8
    seeded, again = (families.masked_lm_preprocessor("bert", seed=7) for _ in range(2))
    assert_equal(seeded(texts), again(texts))
    assert_equal(seeded(texts), seeded(texts))
    # In parallel too, and for every text as in eager mode.
    in_order = in_dataset(seeded, texts)
    assert_equal(in_dataset(again, texts, parallel=4), in_order)
    assert_equal(in_order[3], seeded(texts[6:8]))
    other = families.masked_lm_preprocessor("bert", seed=8)
    assert (other(texts)[1].numpy() != seeded(texts)[1].numpy()).any()


def test_equal_texts_of_a_batch_are_masked_apart() -> None:
    positions = families.masked_lm_preprocessor("bert", seed=0)([families.TEXTS[0]] * 50)[0]["mask_positions"].numpy()
    assert len({tuple(row) for row in positions.tolist()}) > 40


@pytest.mark.slow
def test_masks_without_a_seed_differ() -> None:
    # Another test may have set TensorFlow's own seed, with which every pass over a dataset draws the same.
    tf.random.set_seed(None)
    texts = families.TEXTS * 8
    preprocessor = families.masked_lm_preprocessor("bert")
    assert (preprocessor(texts)[1].numpy() != preprocessor(texts)[1].numpy()).any()
    dataset = tf.data.Dataset.from_tensors(texts).map(preprocessor)
    first, second = next(iter(dataset)), next(iter(dataset))
    assert (first[1].numpy() != second[1].numpy()).any()


def test_masks_by_their_statistics(name: str) -> None:
    """Over more than 1e5 tokens: shares by the rates within four standard errors, every ordinary piece as a random one."""
    words = [word for text in families.TEXTS for word in text.split()]
    texts = [" ".join(row) for row in np.random.default_rng(0).choice(words, (600, 140))]
    options = {"sequence_length": 200, "mask_selection_rate": 0.3, "mask_token_rate": 0.6, "random_token_rate": 0.3}
    preprocessor = families.masked_lm_preprocessor(name, seed=1, **options)
    x, y, sample_weight = (tf.nest.map_structure(lambda part: part.numpy(), part) for part in preprocessor(texts))
    tokenizer = families.tokenizer(name)
    special = {tokenizer.token_to_id(piece) for piece in tokenizer.special_tokens}
    used = sample_weight == 1
    shown = np.take_along_axis(x["token_ids"], x["mask_positions"], axis=1)[used]
    original = y[used]
    ordinary = int(x["padding_mask"].sum()) - 2 * len(texts)
    assert ordinary > 1e5
    assert used.sum() == (np.ceil((x["padding_mask"].sum(axis=1) - 2) * 0.3 - 1e-9)).sum()
    assert not set(original.tolist()) & special - {getattr(tokenizer, "unk_token_id", -1)}
    is_mask = shown == tokenizer.mask_token_id
    count = len(shown)
    assert abs(is_mask.mean() - 0.6) < 4 * (0.6 * 0.4 / count) ** 0.5
    replacements = shown[~is_mask & (shown != original)]
    pieces = tokenizer.vocabulary_size() - len(special)
    # A random piece is the piece itself once in so many.
    random_share = 0.3 * (1 - 1 / pieces)
    assert abs(len(replacements) / count - random_share) < 4 * (random_share * (1 - random_share) / count) ** 0.5
    found = np.bincount(replacements, minlength=tokenizer.vocabulary_size())
    assert not found[sorted(special)].any()
    assert (found > 0).sum() == pieces


@pytest.mark.parametrize(("mask_rate", "random_rate"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_forced_rates(name: str, mask_rate: float, random_rate: float) -> None:
    options = {"mask_selection_rate": 1.0, "mask_token_rate": mask_rate, "random_token_rate": random_rate}
    x, y, sample_weight = families.masked_lm_preprocessor(name, sequence_length=32, **options)(families.TEXTS)
    tokenizer = families.tokenizer(name)
    used = sample_weight.numpy() == 1
    shown = np.take_along_axis(x["token_ids"].numpy(), x["mask_positions"].numpy(), axis=1)[used]
    if mask_rate:
        assert set(shown.tolist()) == {tokenizer.mask_token_id}
    elif random_rate:
        assert (shown != y.numpy()[used]).mean() > 0.8
        assert not set(shown.tolist()) & set(tokenizer.special_token_ids)
    else:
        assert (shown == y.numpy()[used]).all()


def test_a_rate_of_zero_masks_nothing(name: str) -> None:
    x, _, sample_weight = families.masked_lm_preprocessor(name, mask_selection_rate=0.0)(families.TEXTS)
    assert not sample_weight.numpy().any()
    expected = families.text_classifier_preprocessor(name)(families.TEXTS)["token_ids"]
    assert (x["token_ids"].numpy() == expected.numpy()).all()


def test_words_are_masked_whole_and_the_rate_is_nearly_filled(name: str) -> None:
    texts = [" ".join(families.TEXTS[row % 4 :] + families.TEXTS) for row in range(40)]
    options = {"sequence_length": 96, "mask_selection_rate": 0.3, "mask_token_rate": 1.0, "random_token_rate": 0.0}
    preprocessor = families.masked_lm_preprocessor(name, whole_word_masking=True, seed=2, **options)
    x, y, sample_weight = preprocessor(texts)
    tokenizer = families.tokenizer(name)
    starts = tokenizer.word_starts()
    special = {tokenizer.token_to_id(tokenizer.special_token_names[role]) for role in preprocessor.unselectable_roles}
    longer = 0
    for row, positions, ids, weights in zip(
        x["token_ids"].numpy(), x["mask_positions"].numpy(), y.numpy(), sample_weight.numpy(), strict=True
    ):
        masked = dict(zip(positions[weights == 1].tolist(), ids[weights == 1].tolist(), strict=True))
        original = [masked.get(position, int(token_id)) for position, token_id in enumerate(row)]
        word_of, word, previous_special = [], -1, True
        for token_id in original:
            word += starts[token_id] or previous_special or token_id in special
            previous_special = token_id in special
            word_of.append(word)
        words = {word_of[position] for position in masked}
        assert sorted(masked) == [position for position, word in enumerate(word_of) if word in words]
        longer += sum(word_of.count(word) > 1 for word in words)
        wanted = np.ceil(sum(token_id not in special for token_id in original) * 0.3 - 1e-9)
        # The words here are up to eight pieces long.
        assert wanted - 2 <= len(masked) <= wanted
    assert longer > 20


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p({"token_ids": [[1]]}), r"takes raw strings, got a dict \(token_ids\); for preprocessed data"),
        (lambda p: p([[1, 2]]), "takes strings of rank 0 or 1, got int32 of shape"),
        (lambda p: p([["a"], ["b"]]), r"takes strings of rank 0 or 1, got string of shape \(2, 1\)"),
        (lambda p: p(["a", 3]), "takes a string, a list of strings or a tuple of them, got"),
        (lambda p: p(["a"], ["b"]), "pass sentence pairs as one tuple"),
    ],
)
def test_wrong_inputs_are_named(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(families.masked_lm_preprocessor("bert"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"truncate": "left"}, "truncate must be one of round_robin, waterfall, got 'left'"),
        ({"sequence_length": 3}, "sequence_length must be at least 5, got 3"),
        ({"mask_selection_length": 0}, "mask_selection_length must be at least 1, got 0"),
        ({"mask_selection_rate": 1.5}, r"mask_selection_rate must be a rate from 0 to 1, got 1\.5"),
        ({"mask_token_rate": 0.9, "random_token_rate": 0.2}, r"must be at most 1, got 0\.9 \+ 0\.2"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        families.masked_lm_preprocessor("bert", **options)


def test_unknown_settings_are_errors() -> None:
    with pytest.raises(TypeError, match="mask_rate"):
        families.masked_lm_preprocessor("bert", mask_rate=0.2)


@pytest.mark.parametrize("name", families.NAMES)
def test_another_familys_tokenizer_is_refused(name: str) -> None:
    other = "roberta" if name != "roberta" else "xlm_roberta"
    with pytest.raises(InputError, match="use the classes of one family"):
        families.family(name).masked_lm_preprocessor(families.tokenizer(other))
