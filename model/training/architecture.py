"""What model a run trains: as its configuration says, or as the preset, run or checkpoint of `init_from` is."""

import dataclasses
from dataclasses import dataclass

from clozekit.model.common.tensors import Settings
from clozekit.model.families.family import Family
from clozekit.model.families.family_table import family_named
from clozekit.model.presets.load_presets import DEFAULT_SEQUENCE_LENGTH, PresetSource, open_source
from clozekit.model.tasks.generator import DISENTANGLED
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.training.join_halves import generator_sizes, open_generator
from clozekit.model.training.run_directory.run_models import is_begun
from clozekit.model.training.settings.run_settings import PAIRS, REPLACED, ModelSettings, RunSettings
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.preset_tokenizer import of_class
from clozekit.tokenizers.settings.settings_files import check
from clozekit.tokenizers.storage.run_paths import MODEL
from clozekit.tokenizers.tokenizer import Tokenizer

# What may be said of a model that begins with the weights of another, if it is true.
_SAID = (
    "num_layers",
    "num_heads",
    "hidden_dim",
    "intermediate_dim",
    "embedding_dim",
    "num_groups",
    "num_inner_repetitions",
    "activation",
    "layer_norm_epsilon",
    "attention_window",
    "global_rope_base",
    "local_rope_base",
    "bucket_size",
    "max_relative_positions",
)


@dataclass(frozen=True)
class Architecture:
    """backbone: constructor arguments, the vocabulary not filled up; head: those of the masked LM besides. sequence_length: of
    the rows that its preprocessor makes of texts. source: of `init_from`, None for a model from scratch."""

    family: Family
    backbone: Settings
    head: Settings
    sequence_length: int
    source: PresetSource | None = None


def architecture_of(
    config: RunSettings, tokenizer: Tokenizer, longest_row: int, teacher: PresetSource | None = None
) -> Architecture:
    """The model of a run; tokenizer: the dataset's; longest_row: tokens of it; teacher: of `distill`.

    Raises InputError where the configuration, the dataset and `init_from` contradict one another.
    """
    if config.begins_with_teacher and teacher is not None:
        found = of_teacher(teacher, config.model, tokenizer.vocabulary_size(), longest_row)
    elif config.init_from is None:
        found = from_scratch(config.model, tokenizer.vocabulary_size(), longest_row)
    else:
        # A run that goes on needs nothing of where it began.
        directory = config.directory.rstrip("/")
        goes_on = is_begun(directory)
        source = open_source(f"{directory}/{MODEL}" if goes_on else config.init_from)
        check_tokenizer(source, tokenizer, config.dataset)
        found = of_source(source, config.model, longest_row)
        if config.generator is not None and not goes_on:
            generator = open_generator(config.generator, source)
            check_tokenizer(generator, tokenizer, config.dataset, "replaced.generator")
            found = dataclasses.replace(found, head={**generator_sizes(generator), **_disentangled(config)})
    head = _with_generator(found, config)
    return dataclasses.replace(found, head=_with_pairs(head, config.objective == PAIRS))


def _with_generator(found: Architecture, config: RunSettings) -> Settings:
    """The head of a run, with the sizes of a generator where replaced tokens are detected."""
    if config.objective != REPLACED and "num_generator_layers" in found.head:
        named = "distill.teacher" if found.source is None else found.source.source
        raise InputError(
            f"{named} holds a generator and its discriminator, which objective=replaced trains; give that, or take one of the two:"
            " `clozekit convert --to huggingface` writes the discriminator, and the generator into its folder generator"
        )
    if config.replaced is None:
        return found.head
    if "num_generator_layers" not in found.head:
        return {**found.head, **config.replaced.generator_sizes(found.backbone), **_disentangled(config)}
    is_disentangled = found.head.get(DISENTANGLED, False)
    if config.replaced.disentangled not in (None, is_disentangled):
        raise InputError(
            f"replaced.disentangled must be what the generator of init_from is, {config.init_from} has embeddings"
            f" {'of its own' if is_disentangled else 'that its discriminator shares'}; leave it out, or null where a recipe has it"
        )
    return found.head


def _disentangled(config: RunSettings) -> Settings:
    """What a task is told of a generator that it gets."""
    return {DISENTANGLED: True} if config.replaced is not None and config.replaced.disentangled else {}


def _with_pairs(head: Settings, has_pairs: bool) -> Settings:
    """The head of a run, which has one of pairs where pairs are trained: one that nothing trains is left behind."""
    others = {name: value for name, value in head.items() if name not in ("pair_head", "pair_dropout")}
    return {**others, "pair_head": True, "pair_dropout": head.get("pair_dropout", 0.0)} if has_pairs else others


def from_scratch(model: ModelSettings, vocabulary_size: int, longest_row: int) -> Architecture:
    """That of a model with fresh weights."""
    positions = model.max_sequence_length or longest_row
    rule = f"model.max_sequence_length must be at least the {longest_row} tokens of a row"
    check(rule, positions >= longest_row, positions)
    sizes = {"vocabulary_size": vocabulary_size, "max_sequence_length": positions}
    family = family_named(str(model.family))
    return Architecture(family, {**family.backbone.setting_defaults(), **sizes, **model.dimensions()}, {}, longest_row)


def check_tokenizer(source: PresetSource, tokenizer: Tokenizer, dataset: str, key: str = "init_from") -> None:
    """Raises InputError when the ids of a dataset are not those of the own tokenizer of the preset that `key` names."""
    own = source.tokenizer()
    if of_class(source.family.tokenizer, tokenizer).sha256() != own.sha256():
        raise InputError(
            f"the dataset must be prepared with the tokenizer of {key}, {source.source} has a"
            f" {type(own).__name__} of {own.vocabulary_size()} pieces (sha256 {own.sha256()[:12]}), {dataset} was made by"
            f" a {type(tokenizer).__name__} of {tokenizer.vocabulary_size()} ({tokenizer.sha256()[:12]}); prepare it with"
            f" --tokenizer {source.source}"
        )


def of_source(source: PresetSource, said: ModelSettings, longest_row: int) -> Architecture:
    """The model of a run that begins with that of `source`; said: what the configuration says of it."""
    family = source.family
    backbone = {**family.backbone.setting_defaults(), **source.backbone_settings()}
    other = {
        name: (backbone.get(name), getattr(said, name))
        for name in _SAID
        if getattr(said, name) is not None and getattr(said, name) != backbone.get(name, 1)
    }
    if said.family not in (None, family.name):
        other["family"] = (family.name, said.family)
    if other:
        listed = ", ".join(f"{name} {theirs} there and {ours} here" for name, (theirs, ours) in other.items())
        raise InputError(
            f"a run has the architecture of init_from, {source.source} has {listed}; leave model.{next(iter(other))} out:"
            " with another its weights would be those of another function"
        )
    if said.dropout is not None and said.dropout != backbone["dropout"]:
        backbone |= {"dropout": said.dropout, "attention_dropout": None}
    before = backbone["max_sequence_length"]
    backbone["max_sequence_length"] = _positions(source.source, before, said, longest_row)
    _keep_scale(backbone, before)
    settings = source.preprocessor_settings(MaskedLM.kind)
    length = min(settings.get("sequence_length", DEFAULT_SEQUENCE_LENGTH), before)
    length = max(length, longest_row) if backbone["max_sequence_length"] > before else length
    return Architecture(family, backbone, source.head_settings(MaskedLM.kind) or {}, length, source)


def of_teacher(teacher: PresetSource, said: ModelSettings, vocabulary_size: int, longest_row: int) -> Architecture:
    """The model of a student that begins with every other layer of `teacher`; said: what the configuration says of it."""
    family = teacher.family if said.family is None else family_named(said.family)
    if not {*family.backbone.input_names()} <= {*teacher.family.backbone.input_names()}:
        raise InputError(
            f"distill.init_student begins with the weights of the teacher, {teacher.source} is a {teacher.family.name} without"
            f" all that a {family.name} has; leave model.family out"
        )
    there = {**teacher.family.backbone.setting_defaults(), **teacher.backbone_settings()}
    there["num_layers"] = -(-there["num_layers"] // 2)
    for name in _SAID:
        ours = getattr(said, name)
        if ours is not None and ours != there.get(name, 1):
            raise InputError(
                f"a student that begins with every other layer of {teacher.source} has {name} {there.get(name)}, got {ours};"
                f" leave model.{name} out, or distill.init_student"
            )
    positions, most = said.max_sequence_length or there["max_sequence_length"], there["max_sequence_length"]
    rule = f"model.max_sequence_length must be from the {longest_row} tokens of a row to the {most} positions of {teacher.source}"
    check(rule, longest_row <= positions <= most, positions)
    there |= {"vocabulary_size": vocabulary_size, "max_sequence_length": positions}
    _keep_scale(there, most)
    if said.dropout is not None and said.dropout != there["dropout"]:
        there |= {"dropout": said.dropout, "attention_dropout": None}
    names = (*family.backbone.setting_names, *family.backbone.own_setting_defaults)
    backbone = {name: there[name] for name in names if name in there}
    return Architecture(family, backbone, teacher.head_settings(MaskedLM.kind) or {}, longest_row)


def _positions(source: str, there: int, said: ModelSettings, longest_row: int) -> int:
    """Positions of a model that begins with one of `there` positions."""
    asked = said.max_sequence_length
    if said.extend_positions is not None:
        needed = max(longest_row, there) if asked is None else asked
        rule = f"model.max_sequence_length must be at least the {there} positions of {source} and the {longest_row} of a row"
        check(rule, needed >= max(there, longest_row), needed)
        return needed
    if longest_row > there or (asked is not None and asked != there):
        what = f"rows of {longest_row} tokens" if longest_row > there else f"model.max_sequence_length {asked}"
        raise InputError(
            f"a run has the positions of init_from, {source} has {there}, got {what}; prepare rows of at most {there},"
            " leave model.max_sequence_length out, or extend them with model.extend_positions=repeat"
        )
    return there


def _keep_scale(backbone: Settings, before: int) -> None:
    """What relative positions mean stays as it was with `before` positions, where their scale ends there."""
    if backbone.get("max_relative_positions", before) is None and backbone["max_sequence_length"] != before:
        backbone["max_relative_positions"] = before


def spelled_out(config: RunSettings, architecture: Architecture) -> RunSettings:
    """The configuration with what `init_from`, the teacher or the family decided in it."""
    if config.replaced is not None:
        found_so = dataclasses.replace(config.replaced, disentangled=architecture.head.get(DISENTANGLED, False))
        config = dataclasses.replace(config, replaced=found_so.spelled_out(architecture.backbone))
    if architecture.source is None and not config.begins_with_teacher:
        return config
    found: Settings = {name: architecture.backbone.get(name) for name in (*_SAID, "dropout", "max_sequence_length")}
    model = dataclasses.replace(config.model, family=architecture.family.name, **found)
    return dataclasses.replace(config, model=model)
