"""`replaced.generator`: the masked LM of a published ELECTRA's generator, put beside the discriminator of `init_from`."""

from typing import NamedTuple

from clozekit.model.common.tensors import Settings
from clozekit.model.families.electra import FAMILY, GENERATOR_SIZES, ElectraBackbone, ElectraMaskedLM
from clozekit.model.presets.load_presets import PresetSource, open_source
from clozekit.model.tasks.replaced_token_detector import ReplacedTokenDetector
from clozekit.tokenizers.common.errors import InputError

_KEY = "replaced.generator"
# Of one shape they must be where tables are shared, and of one function where a task has one setting for both.
_ALIKE = (
    *("vocabulary_size", "embedding_dim", "max_sequence_length", "num_segments"),
    *("activation", "layer_norm_epsilon"),
)


class Halves(NamedTuple):
    """task: both in one, float32. has_head: whether the discriminator's head came with it, else it is a fresh one. others: the paths
    of the embeddings that are others in the generator's preset."""

    task: ElectraMaskedLM
    has_head: bool
    others: list[str]


def open_generator(named: str, discriminator: PresetSource) -> PresetSource:
    """What is behind `replaced.generator`. discriminator: of `init_from`.

    Raises InputError where it can't be had, is not ELECTRA's masked LM, or is not of the discriminator's embeddings and function.
    """
    source = open_source(named)
    head = source.head_settings("masked_lm") if source.family is FAMILY else None
    if head is None or "num_generator_layers" in head:
        raise InputError(
            f"{_KEY} must be ELECTRA's generator, a masked LM of its own (ElectraForMaskedLM), {named} is {_what(source, head)}"
        )
    if discriminator.family is not FAMILY:
        raise InputError(
            f"{_KEY} goes beside a discriminator of the family electra, init_from {discriminator.source} is a"
            f" {discriminator.family.name}; leave it out, or begin from an ELECTRA"
        )
    if "num_generator_layers" in (discriminator.head_settings("masked_lm") or {}):
        raise InputError(
            f"{_KEY} goes beside a discriminator alone, init_from {discriminator.source} has a generator already; leave it out"
        )
    for one in (source, discriminator):
        if one.quantized_policy() is not None:
            raise InputError(
                f"a discriminator and {_KEY} are trained in floats, {one.source} is quantized; take its original"
            )
    theirs, ours = _settings(source), _settings(discriminator)
    other = [f"{name} {theirs[name]} and not {ours[name]}" for name in _ALIKE if theirs[name] != ours[name]]
    if other:
        raise InputError(
            f"{_KEY} must have the vocabulary, the embeddings' sizes and the activation of its discriminator, {named} has"
            f" {', '.join(other)} of {discriminator.source}; take the two that were trained together"
        )
    return source


def _what(source: PresetSource, head: Settings | None) -> str:
    if source.family is not FAMILY:
        return f"of the family {source.family.name}; take an ELECTRA's"
    if head is not None:
        return "one with its discriminator; give it as init_from alone"
    if source.head_settings(ReplacedTokenDetector.kind) is not None:
        return "a discriminator; give that as init_from, and its generator here"
    return "an ELECTRA without a masked-LM head; leave it out for a fresh generator"


def _settings(source: PresetSource) -> Settings:
    return {**ElectraBackbone.own_setting_defaults, "num_segments": 2, **source.backbone_settings()}


def generator_sizes(generator: PresetSource) -> Settings:
    """Its sizes, and those of its masked-LM head, as a task with a generator takes them."""
    body, head = generator.backbone_settings(), generator.head_settings("masked_lm") or {}
    return {**head, **{name: body[of_body] for name, of_body in GENERATOR_SIZES.items()}}


def join_halves(init_from: str, generator: str) -> Halves:
    """The discriminator of `init_from` and the generator of `replaced.generator` in one masked LM, as the two are there.

    The embeddings, which a task of both shares, are the discriminator's. Raises InputError where weights are not there or not whole.
    """
    masked_lm = ElectraMaskedLM.from_preset(generator, compile=False, preprocessor=None)
    detector = None
    if open_source(init_from).head_settings(ReplacedTokenDetector.kind) is not None:
        detector = ReplacedTokenDetector.from_preset(init_from, compile=False, preprocessor=None)
    backbone = ElectraBackbone.from_preset(init_from) if detector is None else detector.backbone
    sizes = {name: getattr(masked_lm.backbone, of_body) for name, of_body in GENERATOR_SIZES.items()}
    task = ElectraMaskedLM(backbone, compile=False, **masked_lm.head_settings(), **sizes)
    if detector is not None and task.detection_head is not None:
        task.detection_head.set_weights(detector.detection_head.get_weights())
    return Halves(task, detector is not None, task.take_generator(masked_lm))
