"""Tasks that are one class for all families: a backbone of any of them, and a head on its hidden states."""

from typing import ClassVar, Self

import keras

from clozekit.model.common.tensors import Settings
from clozekit.model.preprocessing.text_classifier_preprocessor import TextClassifierPreprocessor
from clozekit.model.tasks.task import Task
from clozekit.tokenizers.common.errors import InputError


class AnyFamilyTask(Task):
    """Base of the tasks that KerasHub has no classes for. Their preprocessor is the family's of text classifiers.

    A preset of one is a preset of its backbone to KerasHub, which loads that and begins with a head of its own.
    """

    preprocessor_cls = TextClassifierPreprocessor
    is_of_keras_hub: ClassVar[bool] = False
    uses_pooler: ClassVar[bool] = False

    @classmethod
    def check_parts(cls, backbone: object, preprocessor: object) -> None:
        super().check_parts(backbone, preprocessor)
        wanted = getattr(preprocessor, "backbone_cls", None)
        if wanted is not None and not isinstance(backbone, wanted):
            raise InputError(
                f"{cls.__name__} needs parts of one family, got a {type(backbone).__name__} and a"
                f" {type(preprocessor).__name__}"
            )

    @classmethod
    def from_config(cls, config: Settings) -> Self:
        config = dict(config)
        described = config.pop("preprocessor", None)
        task = super().from_config({**config, "preprocessor": None})
        if described is not None:
            name = described.get("registered_name") if isinstance(described, dict) else None
            found = keras.saving.get_registered_object(name) if isinstance(name, str) else None
            if not isinstance(found, type) or not issubclass(found, cls.preprocessor_cls):
                raise InputError(
                    f"the preprocessor of a {cls.__name__} must be a text classifier's, the description says {name!r:.80}"
                )
            # Its tokenizer has no vocabulary to be checked before `load_assets`.
            task._preprocessor = found.from_config(described["config"])
        return task

    def head_config(self) -> Settings:
        """Constructor arguments besides backbone and preprocessor."""
        raise NotImplementedError

    def head_settings(self) -> Settings:
        """None besides those of `head_config`."""
        return {}

    def head_layers(self) -> dict[str, keras.Layer]:
        """The head's layers by their place in `task.weights.h5`."""
        return {}

    def get_config(self) -> Settings:
        return {**super().get_config(), **self.head_config()}
