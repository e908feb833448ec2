"""What the preprocessors share: raw strings to rows of ids, in eager mode, in `tf.data` and in `fit` alike."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import keras

from clozekit.model.common import preset_doors
from clozekit.model.common.class_property import classproperty
from clozekit.model.common.tensors import Settings, Tensor
from clozekit.model.preprocessing.multi_segment_packer import MultiSegmentPacker
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.builtin_presets import BuiltinPreset
from clozekit.tokenizers.tokenizer import Tokenizer

if TYPE_CHECKING:
    # At run time it is loaded where it is first needed.
    import tensorflow as tf

TRUNCATIONS = ("round_robin", "waterfall")

# The model's inputs, alone or with labels and weights: x, (x, y) or (x, y, sample_weight).
Preprocessed = Mapping[str, Tensor] | tuple[object, ...]


class Preprocessor:
    """Base of the families' preprocessors: raw strings in, rows of ids out, alone, in `tf.data` and in `fit` alike.

    Call it on a string, several strings, or a tuple of those (the segments of each example), or map it over a
    `tf.data.Dataset`. All ids and masks are int32, (B, sequence_length) for several examples and (sequence_length,) for one.
    Only here is TensorFlow needed, whatever the backend of Keras.

    Args:
        tokenizer: of the preprocessor's family.
        sequence_length: tokens of a row, special tokens and padding included.
        truncate: how too long examples of several segments lose their ends: "round_robin" takes one token a turn from each
            segment that still has some, "waterfall" fills the row from the first segment on.

    Raises:
        InputError: for a tokenizer of another family, rows without room for a pair, another `truncate`, or data that is no
            text.

    Example:

        >>> preprocessor = models.TextClassifierPreprocessor.from_preset("tiny/preset", sequence_length=8)
        >>> isinstance(preprocessor, models.Preprocessor)
        True
        >>> preprocessor.describe()
        'BertTextClassifierPreprocessor: rows of 8 tokens, BertTokenizer of 16 pieces'
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = Tokenizer
    # The class of the family's backbone, which the family's table sets.
    backbone_cls: ClassVar[Any] = None
    # The file in a preset that tells the settings.
    config_file: ClassVar[str] = "preprocessor.json"
    # Segments are told apart by segment_ids (BERT, ALBERT) or by a doubled separator (RoBERTa).
    has_segments: ClassVar[bool] = False
    num_separators: ClassVar[int] = 1
    # Which attribute of a family holds the preprocessor's class.
    kind: ClassVar[str] = ""

    def __init__(self, tokenizer: Tokenizer, sequence_length: int = 512, truncate: str = "round_robin") -> None:
        if not isinstance(tokenizer, self.tokenizer_cls):
            raise InputError(
                f"{type(self).__name__} needs a {self.tokenizer_cls.__name__}, got a {type(tokenizer).__name__};"
                " use the classes of one family"
            )
        if truncate not in TRUNCATIONS:
            raise InputError(f"truncate must be one of {', '.join(TRUNCATIONS)}, got {truncate!r}")
        self.tokenizer = tokenizer
        self.truncate = truncate
        self.sequence_length = sequence_length

    @property
    def sequence_length(self) -> int:
        """Tokens of a row, special tokens and padding included."""
        return self._sequence_length

    @sequence_length.setter
    def sequence_length(self, value: int) -> None:
        # Room for the special tokens of a pair and a token of each segment.
        least = 4 + self.num_separators
        if value < least:
            raise InputError(f"sequence_length must be at least {least}, got {value}; raise it")
        self._sequence_length = value

    def __call__(self, x: object, y: object = None, sample_weight: object = None) -> Preprocessed:
        """The model's inputs for `x`, with labels and weights if there are any: x, (x, y) or (x, y, sample_weight)."""
        import tensorflow as tf

        outputs = self.preprocess(x, y, sample_weight, self.fresh_draw())
        if tf.executing_eagerly() and keras.backend.backend() != "tensorflow":
            return tf.nest.map_structure(lambda part: keras.ops.convert_to_tensor(part.numpy()), outputs)
        return outputs

    def fresh_draw(self) -> "tf.Tensor | None":
        """The number that decides what is random in one call, or None where nothing is."""
        return None

    def preprocess(self, x: object, y: object, sample_weight: object, draw: "tf.Tensor | None") -> Preprocessed:
        """The same as a call, with the random number given (an int64 scalar)."""
        raise NotImplementedError

    def rows(self, x: object) -> "tuple[dict[str, tf.Tensor], bool]":
        """token_ids, segment_ids and padding_mask (B, sequence_length), and whether `x` was a batch."""
        import tensorflow as tf

        from clozekit.model.preprocessing.pack_segments import SegmentPacking, pack_segments

        texts = [as_strings(segment) for segment in (x if isinstance(x, tuple) else (x,))]
        is_batch = texts[0].shape.rank == 1
        tokenizer = self.tokenizer
        segments = [tokenizer.tokenize_in_graph(text if is_batch else text[None]) for text in texts]
        if isinstance(segments[0], tf.Tensor):
            segments = [tf.RaggedTensor.from_tensor(segment) for segment in segments]
        packing = SegmentPacking(
            self.sequence_length,
            tokenizer.start_token_id,
            (tokenizer.end_token_id,) * self.num_separators,
            tokenizer.end_token_id,
            tokenizer.pad_token_id,
            self.truncate,
        )
        return pack_segments(segments, packing), is_batch

    def named_inputs(self, rows: "Mapping[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
        """The rows' tensors that the family's backbone takes, in KerasHub's order."""
        names = ("token_ids", "padding_mask", "segment_ids") if self.has_segments else ("token_ids", "padding_mask")
        return {name: rows[name] for name in names}

    def check_fits(self, vocabulary_size: int, max_sequence_length: int) -> None:
        """Raises InputError when the ids or rows would not fit a backbone of these sizes."""
        pieces = self.tokenizer.vocabulary_size()
        if pieces > vocabulary_size:
            raise InputError(
                f"the tokenizer must fit the embedding, it has {pieces} pieces and the backbone {vocabulary_size} rows"
                " (vocabulary_size); use the two of one preset"
            )
        if self.sequence_length > max_sequence_length:
            raise InputError(
                f"rows must fit the backbone's {max_sequence_length} positions (max_sequence_length), the preprocessor"
                f" makes rows of {self.sequence_length}; set its sequence_length to at most {max_sequence_length}"
            )

    def describe(self) -> str:
        """One line for people."""
        return (
            f"{type(self).__name__}: rows of {self.sequence_length} tokens, {type(self.tokenizer).__name__} of"
            f" {self.tokenizer.vocabulary_size():,} pieces"
        )

    @property
    def packer(self) -> MultiSegmentPacker:
        """What makes rows of the ids of segments, as the preprocessor does."""
        tokenizer = self.tokenizer
        return MultiSegmentPacker(
            self.sequence_length,
            tokenizer.start_token_id,
            tokenizer.end_token_id,
            sep_value=[tokenizer.end_token_id] * self.num_separators,
            pad_value=tokenizer.pad_token_id,
            truncate=self.truncate,
        )

    def get_config(self) -> Settings:
        """Constructor arguments, the vocabulary aside, which `from_config` and `keras.saving` take."""
        tokenizer = keras.saving.serialize_keras_object(self.tokenizer)
        settings = {**self.keras_hub_config(), **self.own_options()}
        return {"tokenizer": tokenizer, "config_file": self.config_file, **settings}

    @classmethod
    def from_config(cls, config: Settings) -> Self:
        """A preprocessor with the arguments of `get_config`; a tokenizer that is described has no vocabulary yet."""
        settings = {
            name: value for name, value in config.items() if name not in ("name", "trainable", "config_file", "dtype")
        }
        tokenizer = settings.pop("tokenizer")
        if isinstance(tokenizer, dict):
            name = tokenizer.get("class_name")
            if name != cls.tokenizer_cls.__name__ or not isinstance(tokenizer.get("config"), dict):
                raise InputError(
                    f"the tokenizer of a {cls.__name__} must be a {cls.tokenizer_cls.__name__}, the description says"
                    f" {name!r:.80}"
                )
            tokenizer = cls.tokenizer_cls.from_config(tokenizer["config"])
        return cls(tokenizer, **settings)

    def keras_hub_config(self) -> Settings:
        """Constructor arguments besides the tokenizer, under KerasHub's names and no others."""
        return {"sequence_length": self.sequence_length, "truncate": self.truncate}

    def own_options(self) -> Settings:
        """Constructor arguments that KerasHub has not, where they are not the default."""
        return {}

    @classproperty
    def presets(cls) -> dict[str, BuiltinPreset]:  # noqa: N805
        """The built-in presets of the class by name."""
        found: dict[str, BuiltinPreset] = preset_doors.presets().builtin_presets_of(cls)
        return found

    @classmethod
    def from_preset(cls, preset: str, **kwargs: object) -> Self:
        """The preprocessor of a preset; `kwargs` replace its settings (`sequence_length=128`)."""
        return preset_doors.presets().load_preprocessor(cls, preset, kwargs)

    def save_to_preset(self, preset_dir: str) -> None:
        """Writes the preprocessor and its tokenizer into a preset directory."""
        preset_doors.presets().save_preset(preset_dir, preprocessor=self)


def as_strings(value: object) -> "tf.Tensor":
    """A `tf.string` tensor of rank 0 or 1. Raises InputError for anything else."""
    import tensorflow as tf

    if isinstance(value, dict):
        raise InputError(
            f"a preprocessor takes raw strings, got a dict ({', '.join(map(str, value))});"
            " for preprocessed data build the task with preprocessor=None"
        )
    tensor = value if isinstance(value, tf.Tensor) else None
    if tensor is None:
        try:
            tensor = tf.convert_to_tensor(value.tolist() if hasattr(value, "tolist") else value)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"a preprocessor takes a string, a list of strings or a tuple of them, got {value!r:.80} ({error})"
            ) from error
    if tensor.dtype != tf.string or tensor.shape.rank not in (0, 1):
        raise InputError(
            f"a preprocessor takes strings of rank 0 or 1, got {tensor.dtype.name} of shape {tensor.shape};"
            " for preprocessed data build the task with preprocessor=None"
        )
    return tensor
