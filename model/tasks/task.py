"""What the tasks share: raw text into `fit`, `evaluate` and `predict`; default compilation; presets."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import keras
import numpy as np

from clozekit.model.common import preset_doors
from clozekit.model.common.class_property import classproperty
from clozekit.model.common.dtype_policies import described_policy
from clozekit.model.common.tensors import Outputs, Rows, Settings, Tensor
from clozekit.model.preprocessing.preprocessor import Preprocessed, Preprocessor
from clozekit.model.tasks.backbone import Backbone, FunctionalModel, ModelOptions, default_name, is_packed, set_policy
from clozekit.model.tasks.pooler import has_pooler
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.builtin_presets import BuiltinPreset

# What Keras gives: one number, several, or several by name; arrays in the structure of the model's outputs.
Measured = float | list[float] | dict[str, float]
Predicted = np.ndarray | dict[str, np.ndarray]


class TaskOptions(ModelOptions, total=False):
    """What every task takes besides its own arguments."""

    compile: bool


class Task(FunctionalModel):
    """Base of the tasks: a backbone with a head and, if given, a preprocessor that takes raw strings.

    With a preprocessor, `fit`, `evaluate`, `predict` and their `*_on_batch` forms take strings (lists, arrays or a
    batched `tf.data.Dataset`; a tuple of them is the segments of each example); without one, what the preprocessor
    would give: a dict of int32 (B, T) tensors. In-memory data is shuffled by `fit` unless `shuffle=False`.

    Args:
        backbone, preprocessor: of the task's family; preprocessor None: for a model of ids.
        inputs, outputs: of the functional Keras model, from the constructor of a kind of tasks.
        compile: whether to compile with the defaults at once.
        name, trainable: as of every Keras model.

    Raises:
        InputError: for parts of another family or kind, and for a preprocessor whose ids or rows don't fit the backbone.

    Example:

        >>> task = models.MaskedLM.from_preset("tiny/preset")
        >>> isinstance(task, models.Task)
        True
        >>> task.compile(run_eagerly=True)  # nothing is compiled for one step
        >>> history = task.fit(["The quick brown fox jumped.", "A lazy dog."], batch_size=2, verbose=0)
        >>> sorted(history.history)
        ['loss', 'sparse_categorical_accuracy']
    """

    backbone_cls: ClassVar[type[Backbone]] = Backbone
    preprocessor_cls: ClassVar[type[Preprocessor]] = Preprocessor
    # Which attribute of a family holds the task's class.
    kind: ClassVar[str] = ""
    default_learning_rate: ClassVar[float] = 5e-5
    # Whether KerasHub has such tasks; whether the head reads the backbone's pooler; whether it must be told of classes.
    is_of_keras_hub: ClassVar[bool] = True
    uses_pooler: ClassVar[bool] = True
    needs_num_classes: ClassVar[bool] = False

    def __init__(
        self,
        backbone: Backbone,
        preprocessor: Preprocessor | None,
        inputs: Rows,
        outputs: Outputs,
        compile: bool = True,  # noqa: A002 - KerasHub's name
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        self.backbone = backbone
        super().__init__(inputs=inputs, outputs=outputs, name=name or default_name(type(self)), trainable=trainable)
        set_policy(self, backbone.dtype_policy)
        self.preprocessor = preprocessor
        if compile:
            self.compile()

    @classmethod
    def check_parts(cls, backbone: object, preprocessor: object) -> None:
        """Raises InputError for parts that are not of the task's family or kind; constructors call it first."""
        for part, wanted in ((backbone, cls.backbone_cls), (preprocessor, cls.preprocessor_cls)):
            if not isinstance(part, wanted) and not (part is None and part is preprocessor):
                raise InputError(
                    f"{cls.__name__} needs a {wanted.__name__}, got a {type(part).__name__};"
                    " use the classes of one family and task"
                )

    @property
    def goes_to_keras_hub(self) -> bool:
        """Whether KerasHub has such tasks, and this one is what its task would take it for."""
        return self.is_of_keras_hub

    @property
    def preprocessor(self) -> Preprocessor | None:
        """What turns raw text into the model's inputs, or None."""
        return self._preprocessor

    @preprocessor.setter
    def preprocessor(self, value: Preprocessor | None) -> None:
        self.check_parts(self.backbone, value)
        if value is not None:
            value.check_fits(self.backbone.vocabulary_size, self.backbone.max_sequence_length)
        self._preprocessor = value

    @property
    def keeps_pooler(self) -> bool:
        """Whether the pooler is saved with the task: its head reads it, or it came with a checkpoint or was trained."""
        return self.uses_pooler or has_pooler(self.backbone)

    def _unused(self) -> list[keras.Variable]:
        """The pooler's variables where the head has no use for it: no loss reaches them, and Keras would warn of that in
        every `fit`."""
        is_used = self.uses_pooler and self.backbone.has_used_pooler
        pooler = None if is_used else getattr(self.backbone, "pooled_dense", None)
        return [] if pooler is None else pooler.trainable_weights

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        unused = {id(variable) for variable in self._unused()}
        return [variable for variable in super().trainable_weights if id(variable) not in unused]

    @property
    def non_trainable_weights(self) -> list[keras.Variable]:
        return [*super().non_trainable_weights, *self._unused()]

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[keras.Variable]:
        return [*super().non_trainable_variables, *self._unused()]

    def call_packed(self, inputs: Rows, training: bool | None) -> Outputs:
        """The outputs for packed rows, whose inputs the functional graph does not take."""
        raise NotImplementedError

    def call(self, inputs: Rows, training: bool | None = None, mask: Tensor | None = None) -> Outputs:
        """The outputs of the model's inputs, packed or not; as Keras calls it."""
        if is_packed(inputs):
            return self.call_packed(inputs, training)
        return super().call(inputs, training=training, mask=mask)

    def fit(
        self,
        x: object = None,
        y: object = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: object = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: object = None,
        *,
        validation_batch_size: int | None = None,
        **kwargs: object,
    ) -> keras.callbacks.History:
        """`keras.Model.fit`, on raw text where there is a preprocessor."""
        kwargs |= {"epochs": epochs, "verbose": verbose, "callbacks": callbacks, "class_weight": class_weight}
        if self._preprocessor is None:
            return super().fit(
                *(_as_arrays(value) for value in (x, y)),
                batch_size=batch_size,
                validation_split=validation_split,
                validation_data=validation_data,
                validation_batch_size=validation_batch_size,
                shuffle=shuffle,
                sample_weight=_as_arrays(sample_weight),
                **kwargs,
            )
        from clozekit.model.tasks import raw_data

        if validation_split:
            (x, y, sample_weight), validation_data = raw_data.split(x, y, sample_weight, validation_split)
        train = raw_data.dataset(self._preprocessor, x, y, sample_weight, batch_size, shuffle, redraw=True)
        if validation_data is not None:
            size = validation_batch_size or batch_size
            validation_data = raw_data.validation_dataset(self._preprocessor, validation_data, size)
        return super().fit(train, validation_data=validation_data, shuffle=False, **kwargs)

    def evaluate(
        self,
        x: object = None,
        y: object = None,
        batch_size: int | None = None,
        sample_weight: object = None,
        **kwargs: object,
    ) -> Measured:
        """`keras.Model.evaluate`, on raw text where there is a preprocessor; the masks are the same every time."""
        # Within `fit`, Keras evaluates on the dataset that `fit` was given, which is preprocessed already.
        if self._preprocessor is None or kwargs.get("_use_cached_eval_dataset"):
            x, y, sample_weight = _as_arrays(x), _as_arrays(y), _as_arrays(sample_weight)
            return super().evaluate(x, y, batch_size=batch_size, sample_weight=sample_weight, **kwargs)
        from clozekit.model.tasks import raw_data

        return super().evaluate(raw_data.dataset(self._preprocessor, x, y, sample_weight, batch_size), **kwargs)

    def predict(self, x: object, batch_size: int | None = None, **kwargs: object) -> Predicted:
        """`keras.Model.predict`, on raw text where there is a preprocessor; the masks are the same every time."""
        if self._preprocessor is None:
            return super().predict(_as_arrays(x), batch_size=batch_size, **kwargs)
        from clozekit.model.tasks import raw_data

        return super().predict(raw_data.dataset(self._preprocessor, x, None, None, batch_size), **kwargs)

    def train_on_batch(self, x: object, y: object = None, sample_weight: object = None, **kwargs: object) -> Measured:
        return super().train_on_batch(*self._one_batch(x, y, sample_weight), **kwargs)

    def test_on_batch(self, x: object, y: object = None, sample_weight: object = None, **kwargs: object) -> Measured:
        return super().test_on_batch(*self._one_batch(x, y, sample_weight), **kwargs)

    def predict_on_batch(self, x: object) -> Predicted:
        return super().predict_on_batch(self._one_batch(x, None, None)[0])

    def _one_batch(self, x: object, y: object, sample_weight: object) -> tuple[object, object, object]:
        if self._preprocessor is not None:
            return keras.utils.unpack_x_y_sample_weight(self._preprocessor(x, y=y, sample_weight=sample_weight))
        return _as_arrays(x), _as_arrays(y), _as_arrays(sample_weight)

    def preprocess_samples(self, x: object, y: object = None, sample_weight: object = None) -> Preprocessed:
        """What `fit` trains on: the inputs, labels and weights that the preprocessor makes, or those given."""
        if self._preprocessor is None:
            return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        return self._preprocessor(x, y=y, sample_weight=sample_weight)

    def has_task_weights(self) -> bool:
        """Whether there are weights beside the backbone's."""
        backbone = {id(weight) for weight in self.backbone.weights}
        return any(id(weight) not in backbone for weight in self.weights)

    def save_task_weights(self, filepath: str | Path) -> None:
        """Writes the weights beside the backbone's, and the optimizer's, into a file `*.weights.h5`, as KerasHub does."""
        keras.saving.save_weights(self, _weights_file(filepath), objects_to_skip=list(self.backbone._flatten_layers()))

    def load_task_weights(self, filepath: str | Path) -> None:
        """Takes the weights beside the backbone's from a file that `save_task_weights` wrote, or KerasHub's."""
        keras.saving.load_weights(self, _weights_file(filepath), objects_to_skip=list(self.backbone._flatten_layers()))

    def default_optimizer(self) -> keras.optimizers.Optimizer:
        """What `compile` takes for "auto": Adam at the task's own rate."""
        return keras.optimizers.Adam(self.default_learning_rate)

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], None] | None = None,
        *args: object,
        **kwargs: object,
    ) -> None:
        """`keras.Model.summary`, with a line for the preprocessor and its tokenizer in front."""
        if self._preprocessor is not None:
            (print_fn or _print)(self._preprocessor.describe())
        super().summary(line_length, positions, print_fn, *args, **kwargs)

    def get_config(self) -> Settings:
        preprocessor = self._preprocessor
        backbone = keras.saving.serialize_keras_object(self.backbone)
        backbone["config"]["dtype"] = self.described_policy()
        return {
            "backbone": backbone,
            "preprocessor": None if preprocessor is None else keras.saving.serialize_keras_object(preprocessor),
            "name": self.name,
            "trainable": self.trainable,
        }

    def described_policy(self) -> Settings:
        """The backbone's dtype policy, for a file, with what the head's layers have of their own."""
        return described_policy(self.backbone.dtype_policy, self._flatten_layers(include_self=False))

    @classmethod
    def from_config(cls, config: Settings) -> Self:
        config = dict(config)
        config["backbone"] = cls._described_backbone(config["backbone"])
        described = config.pop("preprocessor", None)
        task = cls(**config)
        if described is not None:
            # Its tokenizer has no vocabulary to be checked before `load_assets`.
            task._preprocessor = cls.preprocessor_cls.from_config(described["config"])
        return task

    @classmethod
    def _described_backbone(cls, described: object) -> Backbone:
        """The backbone that a `.keras` file describes. Raises InputError for a class that is none of the task's."""
        name = described.get("registered_name") if isinstance(described, dict) else None
        found = keras.saving.get_registered_object(name) if isinstance(name, str) else None
        if not isinstance(found, type) or not issubclass(found, cls.backbone_cls):
            raise InputError(
                f"the backbone of a {cls.__name__} must be a {cls.backbone_cls.__name__}, the description says {name!r:.80}"
            )
        return keras.saving.deserialize_keras_object(described)

    def save_assets(self, inner_path: str) -> None:
        """Part of a `.keras` file: the tokenizer's files."""
        if self._preprocessor is not None:
            self._preprocessor.tokenizer.save_assets(inner_path)

    def load_assets(self, inner_path: str) -> None:
        """The other way: the tokenizer's vocabulary, from the files in a `.keras` file."""
        if self._preprocessor is not None:
            self._preprocessor.tokenizer.load_assets(inner_path)
            self.preprocessor = self._preprocessor

    @classproperty
    def presets(cls) -> dict[str, BuiltinPreset]:  # noqa: N805
        """The built-in presets of the class by name."""
        found: dict[str, BuiltinPreset] = preset_doors.presets().builtin_presets_of(cls)
        return found

    @classmethod
    def from_preset(cls, preset: str, load_weights: bool = True, **kwargs: object) -> Self:
        """The task of a preset, with weights and preprocessor.

        preset: a built-in name (`cls.presets`), a handle (`kaggle://`, `hf://`), a URL (`gs://`) or a directory, in
        KerasHub's or Hugging Face's layout. On a base class the family is read from the preset. load_weights=False
        gives fresh weights. kwargs: `preprocessor` (None for a model of ids), `dtype`, and the task's constructor
        arguments. Raises InputError when the preset can't be had or is not whole, TypeError for unknown arguments.
        """
        return preset_doors.presets().load_task(cls, preset, load_weights, kwargs)

    def save_to_preset(self, preset_dir: str, max_shard_size: float = 10) -> None:
        """Writes the task as a preset, in KerasHub's layout, into a directory or to a URL such as `gs://`.

        max_shard_size: the largest weights file in GB; more are split into several.
        """
        preset_doors.presets().save_preset(preset_dir, task=self, max_shard_size=max_shard_size)


def _weights_file(filepath: str | Path) -> str:
    if not str(filepath).endswith(".weights.h5"):
        raise InputError(f"the name of a file of weights must end in .weights.h5, got {filepath}; rename it")
    return str(filepath)


def _print(text: str) -> None:
    print(text)  # noqa: T201 - as Keras's own summary does


def _as_arrays(value: object) -> object:
    """Python lists in a dict, a tuple or alone as arrays: Keras reads a list as several inputs."""
    if isinstance(value, dict):
        return {name: _as_arrays(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_as_arrays(part) for part in value)
    return np.asarray(value) if isinstance(value, list) else value
