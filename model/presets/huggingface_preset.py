"""Presets in Hugging Face's layout: config.json, model.safetensors, vocabulary files, read and written.

What transformers has no place for stands in `clozekit.json` beside them, which it does not look at, so that a task that
goes there and back is the same task.
"""

import json
import warnings
from functools import cached_property
from pathlib import Path

import keras
import numpy as np

from clozekit.model.common.tensors import DType, Settings
from clozekit.model.families.family import Family, HuggingFaceNames
from clozekit.model.families.family_table import OF_ANY_FAMILY, family_of, preprocessor_class, task_class
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.presets.huggingface_config import (
    backbone_settings,
    describe,
    family_of_config,
    flag_of,
    position_offset,
    special_ids,
    type_vocabulary_size,
)
from clozekit.model.presets.huggingface_heads import HEADS, check_problem_type, detector_tensor, kind_of, pair_settings
from clozekit.model.presets.huggingface_weights import (
    WEIGHTS_FILE,
    Checkpoint,
    arrays_of,
    backbone_places,
    pooler_places,
    read_places,
    write_arrays,
)
from clozekit.model.presets.keras_preset import CONFIG_FILE, OWN_FILE, read_json
from clozekit.model.presets.lineage_file import Origin, write_lineage
from clozekit.model.presets.preset_targets import write_whole_preset
from clozekit.model.presets.sentence_transformers_files import (
    max_tokens,
    text_embedder_settings,
    write_sentence_transformers_files,
)
from clozekit.model.tasks.backbone import Backbone
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.tasks.pooler import has_pooler
from clozekit.model.tasks.replaced_token_detector import ReplacedTokenDetector
from clozekit.model.tasks.task import Task
from clozekit.model.tasks.text_embedder import TextEmbedder
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.family_names import FAMILIES as NAMES
from clozekit.tokenizers.families.huggingface_export import write_huggingface_tokenizer
from clozekit.tokenizers.families.preset_tokenizer import tokenizer_of_preset
from clozekit.tokenizers.hub.open_preset import PresetFiles
from clozekit.tokenizers.settings.constructor_arguments import check_arguments
from clozekit.tokenizers.tokenizer import Tokenizer

# The folder of a discriminator's generator.
GENERATOR = "generator"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
_POSITIONS = "embeddings.position_embeddings.weight"
_SEGMENTS = "embeddings.token_type_embeddings.weight"


class HuggingFacePreset:
    """A directory in Hugging Face's layout, to be read."""

    def __init__(self, files: PresetFiles, config: Settings) -> None:
        self.files = files
        self._config = config
        self.source = files.source
        self._config_named = f"{self.source}: {CONFIG_FILE}"
        self.family = family_of_config(config, self._config_named)
        self._names = self.family.huggingface
        own = files.path(OWN_FILE, required=False)
        self._own = {} if own is None else read_json(own, f"{self.source}: {OWN_FILE}", described=False)
        if not isinstance(self._own.get("kind", ""), str):
            raise InputError(
                f"{self.source}: kind in {OWN_FILE} must name a task, got {self._own['kind']!r:.80}; copy it again"
            )

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(self.files, self._names.head_elsewhere)

    @cached_property
    def _prefix(self) -> str:
        """What the names of the backbone's tensors begin with: nothing in checkpoints of bare models."""
        prefix = self._names.body
        return prefix if self._checkpoint.has_prefix(prefix) else ""

    def backbone_settings(self) -> Settings:
        """Constructor arguments of the backbone. Raises InputError for what the class can't be."""
        settings = backbone_settings(self._config, self._names, self._config_named)
        check_arguments(self.family.backbone, settings, self._config_named)
        return settings

    def quantized_policy(self) -> DType:
        """None: quantized checkpoints are refused."""
        return None

    def weight_files(self) -> list[Path]:
        """The files with the weights."""
        return self._checkpoint.paths

    def head_settings(self, kind: str) -> Settings | None:
        """Constructor arguments of the task, or None when the checkpoint has no such head."""
        if kind == TextEmbedder.kind:
            return text_embedder_settings(self.files, lambda: getattr(self.tokenizer(), "lowercase", False))
        found = kind_of(self._config, self._names)
        if found is None:
            # Without `architectures` the tensors tell.
            named = ((name, head.tensor(self._names)) for name, head in HEADS.items())
            there = [name for name, tensor in named if tensor is not None and tensor in self._checkpoint]
            # The authors' checkpoint of DeBERTa V3 has a masked LM's head and a discriminator's.
            found = kind if kind in there else (there or [""])[0]
        elif found == "" and detector_tensor(self._names) in self._checkpoint:
            # A discriminator of a family that transformers has none of.
            found = ReplacedTokenDetector.kind
        if found != kind:
            return None
        read = HEADS[kind].settings
        own = self._own_part("task") if self._own.get("kind") == kind else {}
        if own and not self._checkpoint.is_ours():
            # transformers trained it further, with the activations of config.json.
            own = {}
        settings = {**read(self._config, self._names, self._config_named), **own}
        if kind == MaskedLM.kind and self._has_pair_head():
            settings = {**pair_settings(self._config, self._names, self._config_named), **settings}
        check_arguments(task_class(self.family, kind), settings, self._config_named)
        return settings

    def _has_pair_head(self) -> bool:
        """Whether there is a head of pairs that the class there has too; masked LMs may have left one from before."""
        names = self._config.get("architectures") or ["ForPreTraining"]
        has_one = self._names.pair_head is not None and any(name.endswith("ForPreTraining") for name in names)
        return has_one and f"{self._names.pair_head}.weight" in self._checkpoint

    def _own_part(self, name: str) -> Settings:
        part = self._own.get(name, {})
        if not isinstance(part, dict):
            raise InputError(f"{self.source}: {OWN_FILE} must hold settings of the {name}, it does not; copy it again")
        return part

    def preprocessor_settings(self, kind: str) -> Settings:
        """The tokenizer's `model_max_length`, as far as there are positions; all of it where we wrote the preset."""
        saved = self._own.get("kind")
        if "preprocessor" in self._own and (saved == kind or (saved in OF_ANY_FAMILY and kind == "text_classifier")):
            settings = dict(self._own_part("preprocessor"))
            check_arguments(preprocessor_class(self.family, kind), settings, f"{self.source}: {OWN_FILE}")
            return settings
        path = self.files.path(TOKENIZER_CONFIG_FILE, required=False)
        length = None
        if path is not None:
            named = f"{self.source}: {TOKENIZER_CONFIG_FILE}"
            length = read_json(path, named, described=False).get("model_max_length")
        length = max_tokens(self.files) or length
        # transformers writes 1e30 for "unknown".
        if not isinstance(length, int | float) or isinstance(length, bool) or not 1 <= length <= 1e9:
            return {}
        return {"sequence_length": min(int(length), self.backbone_settings()["max_sequence_length"])}

    def tokenizer(self) -> Tokenizer:
        return tokenizer_of_preset(self.family.tokenizer, self.files, {})

    def load_backbone_weights(self, backbone: Backbone, needs_pooler: bool = True) -> None:
        """Raises InputError naming the file that is missing or damaged or does not fit."""
        read_places(self._checkpoint, backbone_places(backbone, self._names), self._prefix)
        if backbone.has_position_table:
            backbone.position_embedding.position_embeddings.assign(self._positions(backbone))
        pooler = pooler_places(backbone, self._names)
        if pooler and self._prefix + pooler[0].name in self._checkpoint:
            read_places(self._checkpoint, pooler, self._prefix)
            backbone.has_loaded_pooler = True
        elif pooler and needs_pooler:
            warnings.warn(
                f"{self.source} has no pooler; pooled_output of this {type(backbone).__name__} is random until it was"
                " trained",
                stacklevel=5,
            )

    def _positions(self, backbone: Backbone) -> np.ndarray:
        """Our position table; RoBERTa's segment 0, which every token has, is folded into it."""
        offset = position_offset(self._config, self._names)
        hidden_dim = backbone.position_embedding.position_embeddings.shape[-1]
        rows = backbone.max_sequence_length + offset
        table = self._checkpoint.read(self._prefix + _POSITIONS, (rows, hidden_dim))[offset:]
        if self._names.segments != "folded":
            return table
        num_types = type_vocabulary_size(self._config, self._config_named)
        first = self._checkpoint.read(self._prefix + _SEGMENTS, (num_types, hidden_dim))[0]
        # Adding zeros would turn -0.0 into 0.0: what we wrote comes back bit by bit.
        return table + first if first.any() else table

    def load_head_weights(self, task: Task) -> None:
        """Raises InputError naming the file that is missing or damaged or does not fit."""
        if task.kind == "text_classifier":
            check_problem_type(self._config, self._config_named)
        places = HEADS[task.kind].places(task, self._names)
        if task.kind != "masked_lm":
            read_places(self._checkpoint, places)
            return
        *places, bias = places
        read_places(self._checkpoint, places)
        decoder, has_bias = self._names.decoder, self._names.decoder_bias
        if has_bias is not None and not flag_of(self._config, has_bias, True, self._config_named):
            # One of zeros is none.
            bias.variable.assign(np.zeros(bias.shape(), np.float32))
            self._check_decoder(task, decoder)
            return
        name = bias.name if bias.name in self._checkpoint else f"{decoder}.bias"
        bias.variable.assign(self._checkpoint.read(name, bias.shape()))
        self._check_decoder(task, decoder)

    def _check_decoder(self, task: Task, decoder: str) -> None:
        if not self._config.get("tie_word_embeddings", True):
            self._check_tied(task.backbone.token_embedding.embeddings, f"{decoder}.weight")

    def _check_tied(self, embedding: keras.Variable, name: str) -> None:
        decoder = self._checkpoint.read(name, tuple(embedding.shape))
        if not np.array_equal(decoder, keras.ops.convert_to_numpy(embedding)):
            raise InputError(
                f"the masked-LM head must share its matrix with the token embedding, {self.source} has another {name}"
                " (tie_word_embeddings is false); its body loads alone, by Backbone.from_preset or to `clozekit finetune`"
            )


def save_huggingface(task: Task, directory: str | Path, origin: Origin | None = None) -> None:
    """Writes a task in Hugging Face's layout, whole or not at all: config.json, model.safetensors, the tokenizer's files.

    `transformers.AutoModelForMaskedLM` (or `...ForSequenceClassification`, `...ForTokenClassification`,
    `...ForQuestionAnswering`) and `AutoTokenizer` load it. Weights are
    float32, of the shapes (rows, columns) that transformers has. A masked LM with a generator is two models there: its
    discriminator, and in the folder `generator` the generator. transformers has a class for ELECTRA's discriminator alone; of
    others it loads the body, by `AutoModel`, and Clozekit the head too. Warns of that, and when its class computes something otherwise. A model
    goes without its pooler where its head has no use for it, unless that came with a checkpoint or was trained.

    Args:
        task: with or without a preprocessor. A TextEmbedder is written so that sentence-transformers loads it.
        directory: a directory, or a URL such as `gs://`; one that Clozekit wrote is replaced.
        origin: what it came from, for its `lineage.json`; without it there is none.

    Raises:
        InputError: for what transformers can't load, quantized weights too, or when files are there that Clozekit did not write.

    Example:

        >>> classifier = models.BertTextClassifier(backbone, num_classes=2)
        >>> models.save_huggingface(classifier, "tiny/for-transformers")
        >>> sorted(path.name for path in Path("tiny/for-transformers").glob("[!.]*"))
        ['clozekit.json', 'config.json', 'model.safetensors']
        >>> models.TextClassifier.from_preset("tiny/for-transformers", preprocessor=None).num_classes
        2
    """
    family = family_of(task)
    if getattr(task, "hidden_dim", None) not in (None, task.backbone.hidden_dim):
        raise InputError(
            f"the classifier's hidden_dim must be the backbone's {task.backbone.hidden_dim} at Hugging Face, it is"
            f" {task.hidden_dim}; save in KerasHub's layout"
        )
    _check_floats(task)
    different = HEADS[task.kind].differences(task, family.huggingface)
    if different:
        listed = ", ".join(f"{part.name} {part.ours} becomes {part.theirs}" for part in different)
        warnings.warn(
            f"transformers will compute this {type(task).__name__} a little otherwise: {listed}", stacklevel=2
        )
    is_detector = task.kind == ReplacedTokenDetector.kind or getattr(task, "generator", None) is not None
    if is_detector and not family.huggingface.has_detector:
        warnings.warn(
            f"transformers has no discriminator of the family {family.name}: it loads the body, and passes over the head"
            f" that tells replaced tokens ({detector_tensor(family.huggingface).split('.')[0]}.*), which Clozekit reads",
            stacklevel=2,
        )
    if not isinstance(task, MaskedLM) or task.generator is None:
        write_whole_preset(directory, lambda into: _write(task, family, into), origin)
        return
    generator, discriminator = task.generator_alone(), task.discriminator_alone()

    def write(into: Path) -> None:
        _write(discriminator, family, into, generator.preprocessor)
        (into / GENERATOR).mkdir()
        _write(generator, family, into / GENERATOR)
        # It is a preset too.
        write_lineage(into / GENERATOR, origin)

    write_whole_preset(directory, write, origin)


def save_huggingface_backbone(
    backbone: Backbone,
    directory: str | Path,
    preprocessor: Preprocessor | None = None,
    origin: Origin | None = None,
) -> None:
    """Writes a bare backbone in Hugging Face's layout, whole or not at all; `transformers.AutoModel` loads it.

    Args:
        backbone: its pooler goes along where one came with a checkpoint or was trained.
        directory: a directory, or a URL such as `gs://`; one that Clozekit wrote is replaced.
        preprocessor: whose tokenizer is written too; any of the family's.
        origin: what it came from, for its `lineage.json`; without it there is none.

    Raises:
        InputError: for what transformers can't load, quantized weights too, or when files are there that Clozekit did not write.

    Example:

        >>> from clozekit.model.presets.huggingface_preset import save_huggingface_backbone
        >>> save_huggingface_backbone(backbone, "tiny/bare")
        >>> sorted(path.name for path in Path("tiny/bare").glob("[!.]*"))
        ['clozekit.json', 'config.json', 'model.safetensors']
    """
    _check_floats(backbone)
    names = family_of(backbone).huggingface

    def write(into: Path) -> None:
        config = write_huggingface_description(backbone, preprocessor, into)
        write_arrays(_backbone_arrays(backbone, names, config, "", has_pooler(backbone)), into / WEIGHTS_FILE)
        (into / OWN_FILE).write_text(json.dumps({"kind": backbone.kind}, indent=2) + "\n", encoding="utf-8")

    write_whole_preset(directory, write, origin)


def _check_floats(part: Task | Backbone) -> None:
    if any(layer.quantization_mode is not None for layer in part._flatten_layers()):
        raise InputError(
            f"a model at Hugging Face must have float weights, this {type(part).__name__} is quantized; save it in"
            " KerasHub's layout, or save it before it is quantized"
        )


def _write(task: Task, family: Family, directory: Path, tokenizer_of: Preprocessor | None = None) -> None:
    preprocessor = task.preprocessor or tokenizer_of
    head = HEADS[task.kind]
    config = write_huggingface_description(task, preprocessor, directory)
    write_arrays(_arrays(task, family.huggingface, config), directory / WEIGHTS_FILE)
    own: Settings = {"kind": task.kind}
    if task.preprocessor is not None:
        preprocessor = task.preprocessor
        own["preprocessor"] = {**preprocessor.keras_hub_config(), **preprocessor.own_options()}
    if isinstance(task, TextEmbedder):
        write_sentence_transformers_files(task, directory)
    different = {part.name: part.ours for part in head.differences(task, family.huggingface)}
    if different:
        own["task"] = different
    (directory / OWN_FILE).write_text(json.dumps(own, indent=2) + "\n", encoding="utf-8")


def write_huggingface_description(
    part: Task | Backbone, preprocessor: Preprocessor | None, directory: Path
) -> Settings:
    """The files that say what a model is, without its weights: config.json, which is returned, and the tokenizer's."""
    family = family_of(part)
    backbone = part.backbone if isinstance(part, Task) else part
    ids = special_ids(preprocessor.tokenizer, family.huggingface) if preprocessor is not None else {}
    default_pad = 1 if family.huggingface.positions_after_padding else 0
    head = HEADS[part.kind if isinstance(part, Task) else TextEmbedder.kind]
    described = head.described(part, family.huggingface) if isinstance(part, Task) else {}
    architecture = head.architectures[head.written(part, family.huggingface) if isinstance(part, Task) else 0]
    architecture = (family.huggingface.class_prefix or NAMES[family.name].prefix) + architecture
    pad_token_id = ids.get("pad_token_id", default_pad)
    config = {**describe(backbone, family, pad_token_id, architecture, described), **ids}
    if preprocessor is not None:
        write_huggingface_tokenizer(preprocessor.tokenizer, directory, backbone.max_sequence_length)
    (directory / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return config


def _arrays(task: Task, names: HuggingFaceNames, config: Settings) -> dict[str, np.ndarray]:
    # A model without a head there is written bare.
    is_bare = task.kind == TextEmbedder.kind or (task.kind == ReplacedTokenDetector.kind and not names.has_detector)
    prefix, backbone = "" if is_bare else names.body, task.backbone
    # A classifier works on its pooler, as it is; the classes of other heads have none there.
    body = _backbone_arrays(backbone, names, config, prefix, task.keeps_pooler)
    return {**body, **arrays_of(HEADS[task.kind].places(task, names))}


def _backbone_arrays(
    backbone: Backbone, names: HuggingFaceNames, config: Settings, prefix: str, with_pooler: bool
) -> dict[str, np.ndarray]:
    places = backbone_places(backbone, names) + (pooler_places(backbone, names) if with_pooler else [])
    if not backbone.has_position_table:
        return arrays_of(places, prefix)
    table = np.asarray(keras.ops.convert_to_numpy(backbone.position_embedding.position_embeddings), np.float32)
    offset = position_offset(config, names)
    arrays = {
        **arrays_of(places, prefix),
        # Rows that no token has: of padding and before it.
        prefix + _POSITIONS: np.concatenate([np.zeros((offset, table.shape[1]), np.float32), table]),
    }
    if names.segments == "folded":
        arrays[prefix + _SEGMENTS] = np.zeros((1, table.shape[1]), np.float32)
    return arrays
