"""What Hugging Face calls the settings and tensors of DeBERTa V3, which are those of its V2."""

from clozekit.model.common.tensors import Settings
from clozekit.model.families.family import BLOCK, DEFAULTS, SETTINGS, HuggingFaceNames
from clozekit.model.layers.disentangled_encoder import POSITION_ATTENTION
from clozekit.tokenizers.common.errors import InputError


def more_settings(config: Settings, settings: Settings, source: str) -> Settings:
    """What relative positions are like. Raises InputError for what V2 has and V3 has not."""
    width = settings["hidden_dim"]
    size = width // max(1, settings["num_heads"])
    # Key, what it must be, what leaving it out means to transformers.
    due = [
        ("relative_attention", True, False),
        ("position_biased_input", False, True),
        ("type_vocab_size", 0, 0),
        ("conv_kernel_size", 0, 0),
        ("pooler_hidden_size", width, width),
        ("attention_head_size", size, size),
    ]
    for name, value, left_out in due:
        found = config.get(name, left_out)
        if found != value or isinstance(found, bool) != isinstance(value, bool):
            raise _refused(name, str(value).lower(), found, source)
    return {
        "bucket_size": _count(config, "position_buckets", source),
        "max_relative_positions": _count(config, "max_relative_positions", source),
        "shares_position_keys": _flag(config, "share_att_key", source),
        "position_attention": _position_attention(config, source),
        "normalizes_positions": _normalizes(config, source),
    }


def _count(config: Settings, name: str, source: str) -> int | None:
    """None where it is below 1, which says that there is none."""
    value = config.get(name, -1)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _refused(name, "a whole number", value, source)
    return value if value > 0 else None


def _flag(config: Settings, name: str, source: str) -> bool:
    value = config.get(name, False)
    if not isinstance(value, bool):
        raise _refused(name, "true or false", value, source)
    return value


def _position_attention(config: Settings, source: str) -> str:
    kinds = config.get("pos_att_type")
    if isinstance(kinds, str):
        kinds = [kind.strip() for kind in kinds.lower().split("|")]
    known = isinstance(kinds, list) and all(isinstance(kind, str) for kind in kinds)
    ordered = "|".join(sorted(set(kinds))) if known and isinstance(kinds, list) else None
    if ordered not in POSITION_ATTENTION:
        raise _refused("pos_att_type", "p2c|c2p, or one of the two", config.get("pos_att_type"), source)
    return ordered


def _normalizes(config: Settings, source: str) -> bool:
    norm = config.get("norm_rel_ebd", "none")
    if norm not in ("none", "layer_norm"):
        raise _refused("norm_rel_ebd", "layer_norm or none", norm, source)
    return bool(norm == "layer_norm")


def _refused(name: str, due: str, value: object, source: str) -> InputError:
    return InputError(f"{name} must be {due}, {source} says {value!r:.120}; such a model can't be loaded here")


def more_keys(settings: Settings) -> Settings:
    """The other way round."""
    given = settings["max_relative_positions"]
    return {
        "position_buckets": -1 if settings["bucket_size"] is None else settings["bucket_size"],
        "max_relative_positions": -1 if given is None else given,
        "share_att_key": settings["shares_position_keys"],
        "pos_att_type": list(reversed(settings["position_attention"].split("|"))),
        "norm_rel_ebd": "layer_norm" if settings["normalizes_positions"] else "none",
        "pooler_hidden_size": settings["hidden_dim"],
    }


DEBERTA_V3_NAMES = HuggingFaceNames(
    "deberta-v2",
    "deberta.",
    class_prefix="DebertaV2",
    head_dense="cls.predictions.transform.dense",
    head_norm="cls.predictions.transform.LayerNorm",
    head_bias="cls.predictions.bias",
    decoder="cls.predictions.decoder",
    # What the authors' checkpoints have, and transformers with `legacy: false`, computes the same.
    head_elsewhere={
        "cls.predictions.transform.": "lm_predictions.lm_head.",
        "cls.predictions.bias": "lm_predictions.lm_head.bias",
    },
    classifier={"pooled_dense": "pooler.dense", "output_dense": "classifier"},
    block={
        **BLOCK,
        "query": "attention.self.query_proj",
        "key": "attention.self.key_proj",
        "value": "attention.self.value_proj",
        "position_key": "attention.self.pos_key_proj",
        "position_query": "attention.self.pos_query_proj",
    },
    tables={"relative_embeddings": "encoder.rel_embeddings"},
    norms={"embeddings_layer_norm": "embeddings.LayerNorm", "relative_layer_norm": "encoder.LayerNorm"},
    pooler=None,
    settings={**SETTINGS, "pooler_activation": "pooler_hidden_act"},
    defaults={
        **DEFAULTS,
        "vocab_size": 128100,
        "hidden_size": 1536,
        "num_hidden_layers": 24,
        "num_attention_heads": 24,
        "intermediate_size": 6144,
        "layer_norm_eps": 1e-7,
        "pooler_hidden_act": "gelu",
    },
    more_settings=more_settings,
    more_keys=more_keys,
    segments="none",
    classifier_dropout="pooler_dropout",
    default_classifier_dropout=0.0,
    output_dropout="cls_dropout",
    # Of the authors' checkpoints, which transformers passes over.
    detector={
        "layer_norm": "mask_predictions.LayerNorm",
        "dense": "mask_predictions.dense",
        "output_dense": "mask_predictions.classifier",
    },
    written={
        "type_vocab_size": 0,
        "relative_attention": True,
        "position_biased_input": False,
        # The head of the masked LM under the names that every version of transformers knows.
        "legacy": True,
    },
)
