"""`replaced.generator`: the masked LM of a generator alone, put beside the discriminator of `init_from`."""

from typing import NamedTuple

from clozekit.model.common.tensors import Settings
from clozekit.model.presets.load_presets import PresetSource, open_source
from clozekit.model.tasks.generator import DISENTANGLED, GENERATOR_SIZES
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.tasks.replaced_token_detector import ReplacedTokenDetector
from clozekit.tokenizers.common.errors import InputError

_KEY = "replaced.generator"


class Halves(NamedTuple):
    """task: both in one, float32. has_head: whether the discriminator's head came with it, else it is a fresh one. others: the paths
    of the embeddings that are others in the generator's preset."""

    task: MaskedLM
    has_head: bool
    others: list[str]


def open_generator(named: str, discriminator: PresetSource) -> PresetSource:
    """What is behind `replaced.generator`. discriminator: of `init_from`.

    Raises InputError where it can't be had, is no masked LM of the discriminator's family, or is not of its embeddings and function.
    """
    source = open_source(named)
    if source.family is not discriminator.family:
        raise InputError(
            f"{_KEY} must be of the family of its discriminator, {named} is of the family {source.family.name} and init_from"
            f" {discriminator.source} of {discriminator.family.name}; take the two that were trained together, or leave it out"
        )
    head = source.head_settings(MaskedLM.kind)
    if head is None or "num_generator_layers" in head:
        raise InputError(f"{_KEY} must be a generator, a masked LM of its own, {named} is {_what(source, head)}")
    if "num_generator_layers" in (discriminator.head_settings(MaskedLM.kind) or {}):
        raise InputError(
            f"{_KEY} goes beside a discriminator alone, init_from {discriminator.source} has a generator already; leave it out"
        )
    for one in (source, discriminator):
        if one.quantized_policy() is not None:
            raise InputError(
                f"a discriminator and {_KEY} are trained in floats, {one.source} is quantized; take its original"
            )
    body = source.family.backbone
    theirs, ours = ({**body.setting_defaults(), **one.backbone_settings()} for one in (source, discriminator))
    sizes = {of_body: theirs[of_body] for of_body in GENERATOR_SIZES.values()}
    there, wanted = body.generator_settings(theirs, sizes), body.generator_settings(ours, sizes)
    other = [f"{name} {there[name]} and not {wanted[name]}" for name in wanted if _differs(name, there, wanted)]
    if "embedding_dim" not in ours and theirs["hidden_dim"] != ours["hidden_dim"]:
        other.append(f"hidden_dim {theirs['hidden_dim']} and not {ours['hidden_dim']}")
    if other:
        raise InputError(
            f"{_KEY} must have the vocabulary, the embeddings' sizes and the activation of its discriminator, {named} has"
            f" {', '.join(other)} of {discriminator.source}; take the two that were trained together"
        )
    return source


def _what(source: PresetSource, head: Settings | None) -> str:
    if head is not None:
        return "one with its discriminator; give it as init_from alone"
    if source.head_settings(ReplacedTokenDetector.kind) is not None:
        return "a discriminator; give that as init_from, and its generator here"
    return "a model without a masked-LM head; leave it out for a fresh generator"


def _differs(name: str, theirs: Settings, ours: Settings) -> bool:
    """Whether the two can't stand in one task. Dropout is the discriminator's, and some settings are of heads."""
    is_free = name.endswith("dropout") or name in ("pooler_activation", "head_activation")
    return not is_free and theirs[name] != ours[name]


def generator_sizes(generator: PresetSource) -> Settings:
    """Its sizes, and those of its masked-LM head, as a task with a generator takes them."""
    body, head = generator.backbone_settings(), generator.head_settings(MaskedLM.kind) or {}
    return {**_without_pairs(head), **{name: body[of_body] for name, of_body in GENERATOR_SIZES.items()}}


def _without_pairs(head: Settings) -> Settings:
    return {name: value for name, value in head.items() if name not in ("pair_head", "pair_dropout")}


def join_halves(init_from: str, generator: str, is_disentangled: bool = False) -> Halves:
    """The discriminator of `init_from` and the generator of `replaced.generator` in one masked LM, as the two are there.

    The embeddings, which a task of both shares unless they are disentangled, are the discriminator's. Raises InputError where weights are not there or not whole.
    """
    source = open_source(init_from)
    masked_lm = source.family.masked_lm.from_preset(generator, compile=False, preprocessor=None)
    detector = None
    if source.head_settings(ReplacedTokenDetector.kind) is not None:
        detector = ReplacedTokenDetector.from_preset(init_from, compile=False, preprocessor=None)
    backbone = source.family.backbone.from_preset(init_from) if detector is None else detector.backbone
    sizes = {name: getattr(masked_lm.backbone, of_body) for name, of_body in GENERATOR_SIZES.items()}
    sizes[DISENTANGLED] = is_disentangled
    task = source.family.masked_lm(backbone, compile=False, **_without_pairs(masked_lm.head_settings()), **sizes)
    if detector is not None and task.detection_head is not None:
        task.detection_head.set_weights(detector.detection_head.get_weights())
    return Halves(task, detector is not None, task.take_generator(masked_lm))
