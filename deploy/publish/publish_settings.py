"""What `clozekit publish` is asked for, checked before anything is loaded; it imports no library."""

import re
from dataclasses import dataclass

from clozekit.tokenizers.common.errors import InputError

# The layouts that models are published in; others (ONNX, SavedModel) `convert` writes.
PUBLISHED_FORMATS = ("huggingface", "keras_hub", "clozekit")
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.\-]*")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z]{2,8})?|multilingual")
_DATASET = re.compile(r"[\w.\-]+(/[\w.\-]+)?")


@dataclass(frozen=True)
class PublishSettings:
    """What is published where, and what its card says that no run knows.

    Args:
        preset: anything that a PRESET may be.
        target: `hf://owner/name`, `kaggle://owner/model/keras/variation`, or a URL such as `gs://bucket/path`.
        layout: one of PUBLISHED_FORMATS; None: huggingface at hf://, else keras_hub.
        card: a file with a card of one's own.
        license, languages, datasets, hardware: lines of the card: an id of Hugging Face's list, codes, names of data sets, words.
        message: of the commit or version.
        private: a new repository at hf:// that only its owner sees.
        replace, keep_card: what becomes of what somebody else wrote there; see `publish_directory`.

    Raises:
        InputError: for what breaks a rule, naming the option.

    Example:

        >>> from clozekit.deploy.publish.publish_settings import PublishSettings
        >>> PublishSettings("run/best", "hf://me/mine", license="apache-2.0").format
        'huggingface'
    """

    preset: str
    target: str
    layout: str | None = None
    card: str | None = None
    license: str | None = None
    languages: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    hardware: str | None = None
    message: str | None = None
    private: bool = False
    replace: bool = False
    keep_card: bool = False

    def __post_init__(self) -> None:
        if "://" not in self.target:
            raise InputError(
                f"a preset is published at hf://, kaggle:// or a URL such as gs://, got {self.target!r}; `clozekit convert`"
                " writes folders"
            )
        if self.layout is not None and self.layout not in PUBLISHED_FORMATS:
            raise InputError(f"--format must be one of {', '.join(PUBLISHED_FORMATS)}, got {self.layout!r}")
        if self.scheme == "kaggle" and self.format == "huggingface":
            raise InputError(
                "a variation at Kaggle's keras must be in KerasHub's layout, got --format huggingface; leave it out"
            )
        if self.private and self.scheme != "hf":
            why = (
                "Kaggle makes every new model private"
                if self.scheme == "kaggle"
                else "a bucket's own rules say who reads it"
            )
            raise InputError(f"--private is for hf://, got {self.target}: {why}; leave it out")
        if self.message is not None and self.scheme not in ("hf", "kaggle"):
            raise InputError(f"--message is for hf:// and kaggle://, got {self.target}; leave it out")
        if self.license is not None and not _LICENSE.fullmatch(self.license):
            raise InputError(
                f"--license must be an id such as apache-2.0, mit or other, got {self.license!r}; correct it"
            )
        for language in self.languages:
            if not _LANGUAGE.fullmatch(language):
                raise InputError(f"--language must be a code such as en or de, got {language!r}; correct it")
        for dataset in self.datasets:
            if not _DATASET.fullmatch(dataset):
                raise InputError(f"--dataset must be a name such as owner/name, got {dataset!r}; correct it")
        given = [name for name in ("license", "languages", "datasets", "hardware") if getattr(self, name)]
        if self.card is not None and given:
            options = {"languages": "--language", "datasets": "--dataset"}
            listed = ", ".join(options.get(name, f"--{name}") for name in given)
            raise InputError(f"a card of one's own says everything itself, got --card beside {listed}; leave one out")

    @property
    def scheme(self) -> str:
        return self.target.split("://", 1)[0]

    @property
    def format(self) -> str:
        """The layout that is written."""
        return self.layout or ("huggingface" if self.scheme == "hf" else "keras_hub")
