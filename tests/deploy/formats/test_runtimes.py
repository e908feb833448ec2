"""ONNX and LiteRT: every family's models in their own runtimes give what Keras gives, for rows of any number and length."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import small_families as small
from ai_edge_litert.interpreter import Interpreter
from long_variants import DISTINCT, FULL
from tokenizers import Tokenizer

from clozekit.deploy.cli.main import main
from clozekit.deploy.convert import convert
from clozekit.deploy.formats import onnx_graph
from clozekit.tokenizers.common.errors import InputError

pytestmark = pytest.mark.slow

# Of the largest value: sums in another order, in float32.
TOLERANCE = 5e-6
# (rows, tokens): one row, several with padding, the most tokens that the models take.
SHAPES = ((1, 5), (3, 12), (2, 32))
KINDS = ("masked_lm", "text_classifier", "backbone")
THEIRS = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}


def saved(name: str, kind: str, directory: Path) -> tuple[Any, str]:
    """A model of a kind, and its preset."""
    preset = str(directory / f"{name}-{kind}")
    if kind == "backbone":
        part = small.backbone(name)
        part.save_to_preset(preset)
        small.masked_lm_preprocessor(name).save_to_preset(preset)
    else:
        part = getattr(small, kind)(name, getattr(small, f"{kind}_preprocessor")(name))
        part.save_to_preset(preset)
    return part, preset


def batch(name: str, kind: str, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Rows of several lengths, but for the first, which is full."""
    rows = small.batch(name, *shape, slots=2)
    return rows if kind == "masked_lm" else {key: value for key, value in rows.items() if key != "mask_positions"}


def arrays_of(output: Any, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a model gives by name; hidden states at real tokens alone."""
    named = output if isinstance(output, dict) else {"logits" if "mask_positions" in rows else "": output}
    arrays = {key: np.asarray(keras.ops.convert_to_numpy(value)) for key, value in named.items()}
    return {
        key: a[rows["padding_mask"] > 0] if a.shape[:2] == rows["padding_mask"].shape else a
        for key, a in arrays.items()
    }


def assert_close(found: np.ndarray, expected: np.ndarray, where: str) -> None:
    assert found.shape == expected.shape, where
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max(), where


def run_onnx(session: onnxruntime.InferenceSession, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    feed = {THEIRS[key]: value.astype(np.int64) for key, value in rows.items() if key in THEIRS}
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feed), strict=True))


def in_onnx(kind: str, session: onnxruntime.InferenceSession, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By our names, at the positions that ours gives."""
    found = run_onnx(session, rows)
    if kind == "masked_lm":
        return {"logits": np.take_along_axis(found["logits"], rows["mask_positions"][..., None], axis=1)}
    if kind == "text_classifier":
        return {"": found["logits"]}
    hidden = found["last_hidden_state"][rows["padding_mask"] > 0]
    return {"sequence_output": hidden, "pooled_output": found["pooler_output"]} if len(found) == 2 else {"": hidden}


def in_litert(kind: str, path: str, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = Interpreter(path).get_signature_runner("serving_default")(**rows)
    if kind == "masked_lm":
        return {"logits": found["logits"]}
    if kind == "text_classifier":
        return {"": found["logits"]}
    arrays = arrays_of(found, rows)
    return arrays if len(arrays) == 2 else {"": arrays["sequence_output"]}


# LiteRT takes the graph that Keras traces, whatever the family: each of those whose layers differ is tried once, BERT's in every kind.
IN_LITERT = [(name, kind) for name in DISTINCT for kind in KINDS if FULL or kind == "masked_lm" or name == "bert"]


# ONNX is our own graph. The masked LM of every family, the others of those whose layers differ.
@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in small.NAMES for kind in KINDS if kind == "masked_lm" or name in DISTINCT],
)
def test_both_runtimes_give_what_keras_gives(name: str, kind: str, tmp_path: Path) -> None:
    part, preset = saved(name, kind, tmp_path)
    runtimes = ("onnx", "litert") if (name, kind) in IN_LITERT else ("onnx",)
    for to in runtimes:
        convert(preset, str(tmp_path / to), to)
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "model.onnx"))
    for shape in SHAPES:
        rows = batch(name, kind, shape)
        expected = arrays_of(part(rows), rows)
        for runtime in runtimes:
            if runtime == "onnx":
                found = in_onnx(kind, session, rows)
            else:
                found = in_litert(kind, str(tmp_path / "litert" / "model.tflite"), rows)
            assert set(found) == set(expected), runtime
            for key, value in expected.items():
                assert_close(found[key], value, f"{runtime} {key} {shape}")
    # What stands at padding changes nothing.
    rows = batch(name, kind, (3, 12))
    other = {**rows, "token_ids": np.where(rows["padding_mask"] > 0, rows["token_ids"], 3).astype("int32")}
    for key, value in in_onnx(kind, session, other).items():
        assert_close(value, in_onnx(kind, session, rows)[key], key)


def test_an_onnx_model_is_laid_out_as_optimum_expects(tmp_path: Path) -> None:
    task, preset = saved("bert", "masked_lm", tmp_path)
    converted = convert(preset, str(tmp_path / "onnx"), "onnx")
    assert converted.load_with == f'onnxruntime.InferenceSession("{tmp_path}/onnx/model.onnx")'
    model = onnx.load(tmp_path / "onnx" / "model.onnx")
    axes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    rows = ["batch_size", "sequence_length"]
    assert axes == {
        "input_ids": rows,
        "token_type_ids": rows,
        "attention_mask": rows,
        "logits": [*rows, task.backbone.vocabulary_size],
    }
    # The tokenizer beside it is ours, in Hugging Face's library.
    text = "the quick dog [MASK]"
    encoded = Tokenizer.from_file(str(tmp_path / "onnx" / "tokenizer.json")).encode(text)
    feed = {"token_ids": encoded.ids, "padding_mask": encoded.attention_mask, "segment_ids": encoded.type_ids}
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "model.onnx"))
    logits = run_onnx(session, {key: np.array([value]) for key, value in feed.items()})["logits"]
    mask = encoded.ids.index(task.preprocessor.tokenizer.mask_token_id)
    guesses = [guess.token_id for guess in task.fill_mask(text, top_k=5)[0]]
    # Special tokens are no guesses of `fill_mask`.
    assert [one for one in np.argsort(-logits[0, mask]).tolist() if one in guesses] == guesses
    with pytest.raises(Exception, match="(?i)broadcast|dimension|incompatible"):
        run_onnx(session, small.batch("bert", 1, 40))


def test_a_large_onnx_model_keeps_its_weights_in_a_file_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those above 2 GB do; one message of protobuf can't hold more."""
    part = small.backbone("albert", **small.GROUPS["albert"])
    preset = str(tmp_path / "preset")
    part.save_to_preset(preset)
    small.masked_lm_preprocessor("albert").save_to_preset(preset)
    monkeypatch.setattr(onnx_graph, "_LARGEST_MESSAGE", 1000)
    convert(preset, str(tmp_path / "onnx"), "onnx")
    names = {path.name for path in (tmp_path / "onnx").iterdir()}
    assert {"model.onnx", "model.onnx_data"} <= names
    rows = batch("albert", "backbone", (2, 9))
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "model.onnx"))
    assert_close(
        in_onnx("backbone", session, rows)["sequence_output"], arrays_of(part(rows), rows)["sequence_output"], ""
    )


@pytest.mark.parametrize(("activation", "of_head"), [("gelu", "gelu_approximate"), ("relu", "silu"), ("tanh", "gelu")])
def test_every_activation_is_the_same_in_both(activation: str, of_head: str, tmp_path: Path) -> None:
    rows_of = small.masked_lm_preprocessor("roberta")
    task = small.masked_lm("roberta", rows_of, {"activation": activation}, head_activation=of_head)
    task.save_to_preset(str(tmp_path / "preset"))
    rows = batch("roberta", "masked_lm", (2, 9))
    for to in ("onnx", "litert"):
        convert(str(tmp_path / "preset"), str(tmp_path / to), to)
    expected = arrays_of(task(rows), rows)["logits"]
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "model.onnx"))
    assert_close(in_onnx("masked_lm", session, rows)["logits"], expected, "onnx")
    assert_close(in_litert("masked_lm", str(tmp_path / "litert" / "model.tflite"), rows)["logits"], expected, "litert")


@pytest.mark.parametrize("to", ["onnx", "litert"])
def test_a_model_replaces_the_one_before_and_nothing_else(to: str, tmp_path: Path) -> None:
    _, preset = saved("roberta", "text_classifier", tmp_path)
    target = tmp_path / "target"
    convert(preset, str(target), "saved_model")
    converted = convert(preset, str(target), to)
    assert not (target / "saved_model.pb").exists() and converted.load_with.count(str(target)) == 1
    tokenizer_file = "vocab.json" if to == "onnx" else "tokenizer.json"
    assert (target / tokenizer_file).is_file()
    (target / "thesis.txt").write_text("precious", encoding="utf-8")
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="holds what Clozekit did not write there"):
        convert(preset, str(target), to)
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("to", ["onnx", "litert"])
def test_a_quantized_model_is_refused_in_one_line_and_leaves_nothing(
    to: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = small.masked_lm("bert", small.masked_lm_preprocessor("bert"))
    task.quantize("int8")
    task.save_to_preset(str(tmp_path / "preset"))
    assert main(["convert", str(tmp_path / "preset"), str(tmp_path / "target"), "--to", to]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "must have float weights, this BertMaskedLM is quantized" in line
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]


@pytest.mark.parametrize(("to", "files"), [("onnx", 6), ("litert", 3), ("saved_model", 3)])
def test_models_for_runtimes_go_to_object_stores(to: str, files: int, tmp_path: Path) -> None:
    import fsspec

    _, preset = saved("bert", "masked_lm", tmp_path)
    # Twice: the second replaces the first, by what writes all of them.
    for _ in range(2 if FULL or to == "onnx" else 1):
        convert(preset, f"memory://runtimes/{to}", to)
    found = fsspec.filesystem("memory").find(f"/runtimes/{to}")
    assert len(found) >= files and not [name for name in found if "tmp" in name]


def test_a_classifier_with_an_activation_gives_logits_and_says_so(tmp_path: Path) -> None:
    task = small.text_classifier("bert", small.text_classifier_preprocessor("bert"), activation="softmax")
    task.save_to_preset(str(tmp_path / "preset"))
    converted = convert(str(tmp_path / "preset"), str(tmp_path / "onnx"), "onnx")
    assert converted.notes == ["gives logits: its softmax is left to whoever reads them"]
    rows = batch("bert", "text_classifier", (3, 12))
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "model.onnx"))
    logits = run_onnx(session, rows)["logits"]
    found = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(task(rows)), rtol=1e-5, atol=1e-6)
