"""What Hugging Face calls the settings and tensors of ModernBERT, in the forms of transformers 4 and 5."""

from clozekit.model.common.tensors import Settings
from clozekit.model.families.family import HuggingFaceNames, numbered
from clozekit.tokenizers.common.errors import InputError

FULL, SLIDING = LAYER_TYPES = ("full_attention", "sliding_attention")
# Of transformers 4, which has one key for each kind, and what they are unless a config.json says so.
_BASES = {
    FULL: ("global_rope_base", "global_rope_theta", 160_000.0),
    SLIDING: ("local_rope_base", "local_rope_theta", 10_000.0),
}
_EVERY = "global_attn_every_n_layers"


def more_settings(config: Settings, settings: Settings, source: str) -> Settings:
    """Which blocks look how far, and the bases of their positions. Raises InputError for what is not computed here."""
    head_dim = config.get("head_dim")
    if head_dim not in (None, settings["hidden_dim"] // max(1, settings["num_heads"])):
        raise _refused("head_dim", "hidden_size / num_attention_heads", head_dim, source)
    pooling = config.get("classifier_pooling", "cls")
    if pooling not in ("cls", "mean"):
        raise _refused("classifier_pooling", "cls or mean", pooling, source)
    return {"layer_types": _layer_types(config, settings["num_layers"], source), **_bases(config, source)}


def _layer_types(config: Settings, num_layers: int, source: str) -> list[str] | None:
    types = config.get("layer_types")
    if types is None:
        every = config.get(_EVERY, 3)
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise _refused(_EVERY, "a whole number from 1 on", every, source)
        return None if every == 3 else [SLIDING if index % every else FULL for index in range(num_layers)]
    known = isinstance(types, list) and all(isinstance(kind, str) and kind in LAYER_TYPES for kind in types)
    if not known or len(types) != num_layers:
        raise _refused("layer_types", f"{FULL} or {SLIDING} for each of the {num_layers} layers", types, source)
    return None if types == [SLIDING if index % 3 else FULL for index in range(num_layers)] else types


def _bases(config: Settings, source: str) -> Settings:
    if config.get("rope_scaling") is not None:
        raise _refused("rope_scaling", "none", config["rope_scaling"], source)
    given = config.get("rope_parameters")
    if given is not None and (not isinstance(given, dict) or not set(given) <= set(LAYER_TYPES)):
        raise _refused("rope_parameters", f"an object with {FULL} and {SLIDING}", given, source)
    found: Settings = {}
    for kind, (ours, key, usual) in _BASES.items():
        told = (given or {}).get(kind)
        told = {} if told is None else told
        if (
            not isinstance(told, dict)
            or told.get("rope_type", "default") != "default"
            or not set(told) <= {"rope_type", "rope_theta"}
        ):
            raise _refused(f"rope_parameters.{kind}", "rope_type default and a rope_theta", told, source)
        base = told.get("rope_theta", config.get(key, usual))
        if base is None and kind == SLIDING:
            # In transformers 4 local attention has the base of the other then.
            base = found[_BASES[FULL][0]]
        if isinstance(base, bool) or not isinstance(base, int | float) or not 0 < base < 1e30:
            raise _refused(f"rope_theta of {kind}", "a number above 0", base, source)
        found[ours] = float(base)
    return found


def _refused(name: str, due: str, value: object, source: str) -> InputError:
    return InputError(f"{name} must be {due}, {source} says {value!r:.120}; such a model can't be loaded here")


def more_keys(settings: Settings) -> Settings:
    """In the forms of both versions: 4 passes over layer_types and rope_parameters, and can't say every layout."""
    num_layers, types = settings["num_layers"], settings["layer_types"]
    types = [SLIDING if index % 3 else FULL for index in range(num_layers)] if types is None else list(types)
    bases = {kind: settings[ours] for kind, (ours, _, _) in _BASES.items()}
    periods = (
        every
        for every in range(1, num_layers + 1)
        if types == [SLIDING if i % every else FULL for i in range(num_layers)]
    )
    every = next(periods, None)
    return {
        "layer_types": types,
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": base} for kind, base in bases.items()},
        **({} if every is None else {_EVERY: every}),
        **{key: bases[kind] for kind, (_, key, _) in _BASES.items()},
    }


MODERN_BERT_NAMES = HuggingFaceNames(
    "modernbert",
    "model.",
    head_dense="head.dense",
    head_norm="head.norm",
    head_bias="decoder.bias",
    decoder="decoder",
    classifier={"output_dense": "classifier"},
    blocks=numbered("layers"),
    block={
        "attention_norm": "attn_norm",
        "query": "attn.Wqkv",
        "key": "attn.Wqkv",
        "value": "attn.Wqkv",
        "output": "attn.Wo",
        "norm": "mlp_norm",
        "inner": "mlp.Wi",
        "gate": "mlp.Wi",
        "outer": "mlp.Wo",
    },
    tokens="embeddings.tok_embeddings",
    norms={"embeddings_layer_norm": "embeddings.norm", "final_layer_norm": "final_norm"},
    settings={
        "vocabulary_size": "vocab_size",
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "hidden_dim": "hidden_size",
        "intermediate_dim": "intermediate_size",
        "dropout": "mlp_dropout",
        "attention_dropout": "attention_dropout",
        "embedding_dropout": "embedding_dropout",
        "max_sequence_length": "max_position_embeddings",
        "activation": "hidden_activation",
        "layer_norm_epsilon": "norm_eps",
        "attention_window": "local_attention",
        "attention_bias": "attention_bias",
        "feedforward_bias": "mlp_bias",
        "norm_bias": "norm_bias",
        "head_activation": "classifier_activation",
        "head_bias": "classifier_bias",
    },
    defaults={
        "vocab_size": 50368,
        "hidden_size": 768,
        "num_hidden_layers": 22,
        "num_attention_heads": 12,
        "intermediate_size": 1152,
        "mlp_dropout": 0.0,
        "attention_dropout": 0.0,
        "embedding_dropout": 0.0,
        "max_position_embeddings": 8192,
        "hidden_activation": "gelu",
        "norm_eps": 1e-5,
        "local_attention": 128,
        "attention_bias": False,
        "mlp_bias": False,
        "norm_bias": False,
        "classifier_activation": "gelu",
        "classifier_bias": False,
    },
    more_settings=more_settings,
    more_keys=more_keys,
    segments="none",
    decoder_bias="decoder_bias",
    default_classifier_dropout=0.0,
    classifier_pooling="classifier_pooling",
    answers="classifier",
    answer_dropout="classifier_dropout",
    # The class's own ids are those of its first vocabulary.
    written={
        "decoder_bias": True,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")),
    },
)
