"""`config.json` of Hugging Face: their settings into ours and back; what ours can't express is refused, never ignored."""

from typing import NamedTuple, TypeVar

from clozekit.model.common.tensors import Settings
from clozekit.model.families.family import Family, HuggingFaceNames
from clozekit.model.families.family_table import FAMILIES
from clozekit.model.tasks.backbone import Backbone
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.tokenizer import Tokenizer

Number = TypeVar("Number", int, float)

# model_type -> our family. CamemBERT and others share an architecture but not a tokenizer.
MODEL_TYPES = {family.huggingface.model_type: family for family in FAMILIES}
# Their activation -> ours. The tanh forms of GELU are one formula under five names.
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_approximate",
    "gelu_pytorch_tanh": "gelu_approximate",
    "gelu_python_tanh": "gelu_approximate",
    "gelu_fast": "gelu_approximate",
    "gelu_accurate": "gelu_approximate",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
# Ours -> the name that the published checkpoints have.
_THEIR_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_approximate": "gelu_new",
    "relu": "relu",
    "silu": "silu",
    "tanh": "tanh",
}
_SPECIAL_IDS = {
    "pad_token_id": "pad_token_id",
    "bos_token_id": "start_token_id",
    "eos_token_id": "end_token_id",
    "cls_token_id": "start_token_id",
    "sep_token_id": "end_token_id",
}


# NaN and infinity are outside of it too.
_MOST = 2**31 - 1


class Difference(NamedTuple):
    """A setting that Hugging Face's one can't hold beside the body's: what it is here and what it becomes there."""

    name: str
    ours: object
    theirs: object


def family_of_config(config: Settings, source: str) -> Family:
    """The family of a config.json. Raises InputError naming `source` for another architecture."""
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in MODEL_TYPES:
        raise InputError(
            f"the model_type of a Hugging Face preset must be one of {', '.join(MODEL_TYPES)}, {source} says"
            f" {model_type!r}; no other architecture is known here"
        )
    return MODEL_TYPES[model_type]


def position_offset(config: Settings, names: HuggingFaceNames) -> int:
    """The row of the position table where positions begin: RoBERTa counts from the padding id on."""
    if not names.positions_after_padding:
        return 0
    pad_token_id = int(number_of(config, "pad_token_id", 1, int, "config.json"))
    if pad_token_id < 0:
        raise InputError(f"pad_token_id must not be negative, config.json says {pad_token_id}; correct it")
    return pad_token_id + 1


def backbone_settings(config: Settings, names: HuggingFaceNames, source: str) -> Settings:
    """Constructor arguments of the backbone. Raises InputError for what it can't be."""
    _check_architecture(config, names, source)
    defaults, settings = names.defaults, dict(names.fixed)
    for ours, theirs in names.settings.items():
        if ours.endswith("activation"):
            settings[ours] = activation_of(config.get(theirs, defaults[theirs]), theirs, source)
        elif ours.endswith("_bias"):
            settings[ours] = flag_of(config, theirs, bool(defaults[theirs]), source)
        else:
            kind = float if ours.endswith(("dropout", "epsilon")) else int
            settings[ours] = number_of(config, theirs, defaults.get(theirs), kind, source)
    settings["max_sequence_length"] -= position_offset(config, names)
    for name in ("attention_dropout", "embedding_dropout"):
        if name in settings and settings[name] == settings["dropout"]:
            del settings[name]
    return {**settings, **names.more_settings(config, settings, source)}


def _check_architecture(config: Settings, names: HuggingFaceNames, source: str) -> None:
    refused = [name for name in ("is_decoder", "add_cross_attention", "is_encoder_decoder") if config.get(name)]
    kind = config.get("position_embedding_type", "absolute")
    if kind not in (None, "absolute"):
        refused.append(f"position_embedding_type {kind!r}")
    is_factorized = config.get("embedding_size", config.get("hidden_size")) != config.get("hidden_size")
    if is_factorized and "embedding_dim" not in names.settings:
        refused.append("embedding_size")
    refused += [name for name in ("quantization_config", "pruned_heads") if config.get(name)]
    if config.get("tie_word_embeddings") not in (None, True, False):
        refused.append(f"tie_word_embeddings {config['tie_word_embeddings']!r:.80}")
    if refused:
        raise InputError(
            f"the model must be an encoder with absolute positions and plain weights, {source} says"
            f" {', '.join(refused)}; such a model can't be loaded here"
        )


def flag_of(config: Settings, name: str, default: bool, source: str) -> bool:
    """A key that is true or false. Raises InputError naming `source` for another value."""
    value = config.get(name, default)
    if not isinstance(value, bool):
        raise InputError(f"{name} must be true or false, {source} says {value!r:.80}; correct it")
    return value


def activation_of(theirs: object, name: str, source: str) -> str:
    """Our name of an activation. Raises InputError naming `source` for one we have not."""
    if not isinstance(theirs, str) or theirs not in _ACTIVATIONS:
        raise InputError(
            f"{name} must be one of {', '.join(_ACTIVATIONS)}, {source} says {theirs!r}; it can't be loaded here"
        )
    return _ACTIVATIONS[theirs]


def type_vocabulary_size(config: Settings, source: str) -> int:
    """Rows of the table of segments, which RoBERTa has too. Raises InputError for none: transformers can't compute that."""
    rows = int(number_of(config, "type_vocab_size", 2, int, source))
    if rows < 1:
        raise InputError(f"type_vocab_size must be at least 1, {source} says {rows}; correct it")
    return rows


def number_of(config: Settings, name: str, default: float | None, kind: type[Number], source: str) -> Number:
    value = config.get(name, default)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if (
        value is None
        or not is_number
        or not -_MOST <= value <= _MOST
        or (kind is int and not float(value).is_integer())
    ):
        expected = "a whole number" if kind is int else "a number"
        raise InputError(f"{name} must be {expected}, {source} says {value!r}; correct it")
    return kind(value)


def check_labels(config: Settings, source: str) -> None:
    """Raises InputError unless the classes are ids 0, 1, 2, ... with a name each, or are not named at all."""
    labels = config.get("id2label")
    for name in ("id2label", "label2id"):
        if not isinstance(config.get(name), dict | None):
            raise InputError(f"{name} must be an object, {source} says {config[name]!r:.80}; correct it")
    ids = {str(index) for index in range(len(labels or ()))}
    if labels and (set(labels) != ids or not all(isinstance(label, str) for label in labels.values())):
        raise InputError(
            f"id2label must give the classes 0 to {len(ids) - 1} a name each, {source} says {labels!r:.200}; correct it"
        )


def label_names(id2label: Settings) -> list[str] | None:
    """The names of the classes in the order of their ids; None where they are transformers' own LABEL_0, LABEL_1, ..."""
    names = [id2label.get(str(index)) for index in range(len(id2label))]
    given = [str(name) for index, name in enumerate(names) if name is not None and name != f"LABEL_{index}"]
    return given if len(given) == len(set(given)) == len(names) else None


def describe(backbone: Backbone, family: Family, pad_token_id: int, architecture: str, head: Settings) -> Settings:
    """The config.json of a backbone with a head or without; `pad_token_id` is the tokenizer's, architecture transformers'
    class, head what is said of the head. Raises InputError for what it can't say."""
    names, settings = family.huggingface, backbone.settings()
    for name, value in names.fixed.items():
        if settings[name] != value:
            raise InputError(
                f"{name} of a {type(backbone).__name__} must be {value} at Hugging Face, it is {settings[name]}; save in"
                " KerasHub's layout"
            )
    theirs = {name: settings[ours] for ours, name in names.settings.items()}
    for ours, name in names.settings.items():
        if ours.endswith("activation"):
            theirs[name] = _THEIR_ACTIVATIONS[settings[ours]]
        elif ours.endswith("dropout") and settings[ours] is None:
            theirs[name] = settings["dropout"]
    theirs |= names.more_keys(settings)
    theirs["pad_token_id"] = pad_token_id
    theirs[names.settings["max_sequence_length"]] += position_offset(theirs, names)
    if names.segments == "folded":
        # RoBERTa's type table has one row, of zeros: its papers have no segments.
        theirs["type_vocab_size"] = 1
    own = {
        "architectures": [architecture],
        "model_type": names.model_type,
        "tie_word_embeddings": True,
        "position_embedding_type": "absolute",
        "initializer_range": 0.02,
    }
    return dict(sorted({**own, **names.written, **theirs, **head}.items()))


def special_ids(tokenizer: Tokenizer, names: HuggingFaceNames) -> dict[str, int]:
    """The ids of special tokens that stand in a config.json: those of padding, begin and end, and which the family writes."""
    wanted = {"pad_token_id", "bos_token_id", "eos_token_id"} | names.written.keys()
    return {theirs: getattr(tokenizer, ours) for theirs, ours in _SPECIAL_IDS.items() if theirs in wanted}
