"""The dtype policy of a model whose layers may be quantized each on its own: as settings, and back from a file."""

import re
from collections.abc import Iterable

import keras

from clozekit.model.common.tensors import DType, Settings
from clozekit.tokenizers.common.errors import InputError

# Of the largest values that a layer in float8 has seen; Keras keeps 1,024.
_LONGEST_HISTORY = 1 << 16
# Paths of layers are read as patterns: one of a file must not be more than a path.
_PATH = re.compile(r"[\w/.:-]{1,500}")


# The layers of backbones and heads that have kernels, and the tables: what each kind of quantization can change.
_KERNELS = (
    "query|key|value|attention_output|feedforward_intermediate_dense|feedforward_gate_dense|feedforward_output_dense"
    "|(generator_)?embedding_projection|pooled_dense|intermediate_dense|detection_dense|(pair_|detection_)?logits"
)
_TABLES = "(generator_)?(token_embedding|segment_embedding)"
_QUANTIZED = {"int8": f"{_KERNELS}|{_TABLES}", "int4": f"{_KERNELS}|{_TABLES}", "float8": _KERNELS}


def policy_of_layers(dtype: DType) -> DType:
    """What the layers of a model take for its dtype: of "int8_from_float32", each what it can be.

    Keras refuses to call a layer of such a policy that has nothing to quantize, a normalisation for one.
    """
    policy = keras.dtype_policies.get(dtype)
    mode = policy.quantization_mode
    kind = None if mode is None else mode.split("/")[0]
    if isinstance(policy, keras.dtype_policies.DTypePolicyMap) or kind not in _QUANTIZED:
        return dtype
    policies = keras.dtype_policies.DTypePolicyMap(policy.name.partition("_from_")[2])
    policies[f"(.*/)?({_QUANTIZED[kind]})"] = policy
    return policies


def described_policy(policy: keras.DTypePolicy, layers: Iterable[keras.Layer]) -> Settings:
    """The settings of a model's policy, with those of its quantized layers by their paths if there are any.

    A model that was quantized keeps the policy that it was built with; only its layers know better.
    """
    default = policy.default_policy if isinstance(policy, keras.dtype_policies.DTypePolicyMap) else policy
    told = {layer.path: layer.dtype_policy for layer in layers if layer.path and not isinstance(layer, keras.Model)}
    told = {path: one for path, one in told.items() if one.name != default.name}
    if not told:
        return _serialized(default)
    # Made here and not by DTypePolicyMap, whose `get_config` takes the names of the policies away if it has no default.
    return {
        "module": "keras",
        "class_name": "DTypePolicyMap",
        "config": {
            "default_policy": default.name,
            "policy_map": {path: _serialized(one) for path, one in sorted(told.items())},
        },
        "registered_name": None,
    }


def _serialized(policy: keras.DTypePolicy) -> Settings:
    described: Settings = keras.dtype_policies.serialize(policy)
    return described


def is_quantized(described: object) -> bool:
    """Whether a policy of a file, as `described_policy` gives it, quantizes anything."""
    return isinstance(described, dict) and described.get("class_name") not in (None, "DTypePolicy", "FloatDTypePolicy")


def policy_of_file(described: Settings, named: str) -> DType:
    """One of Keras's own policies, or a map of them. Raises InputError, which names the file, for what could be any code."""
    content = described.get("config")
    if described.get("class_name") != "DTypePolicyMap":
        return _policy(described, named)
    told = content.get("policy_map") if isinstance(content, dict) else None
    default = content.get("default_policy") if isinstance(content, dict) else None
    if not isinstance(told, dict) or not all(isinstance(path, str) and _PATH.fullmatch(path) for path in told):
        raise InputError(f"{named}: dtype must give policies by the paths of layers, it does not; copy it again")
    policies = keras.dtype_policies.DTypePolicyMap(_default(default, named))
    for path, one in told.items():
        policies[path] = _policy(one, named)
    return policies


def _default(default: object, named: str) -> DType:
    if default is None:
        return None
    return _policy(
        default if isinstance(default, dict) else {"class_name": "DTypePolicy", "config": {"name": default}}, named
    )


def _policy(described: object, named: str) -> keras.DTypePolicy:
    name = described.get("class_name") if isinstance(described, dict) else None
    content = described.get("config") if isinstance(described, dict) else None
    is_plain = isinstance(content, dict) and all(map(_is_plain, content.values()))
    known = isinstance(name, str) and name.endswith("DTypePolicy") and hasattr(keras.dtype_policies, name)
    if not (isinstance(described, dict) and known and is_plain) or described.get("registered_name") is not None:
        raise InputError(f"{named}: dtype must be a policy of Keras, it says {name!r:.80}; correct it")
    try:
        # Without what names a module.
        return keras.dtype_policies.deserialize({"class_name": name, "config": content})
    except (TypeError, ValueError) as error:
        raise InputError(f"{named}: dtype must be a policy of Keras, it is not ({error}); correct it") from error


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str) or (isinstance(value, int) and 0 <= value <= _LONGEST_HISTORY)
