"""Loading a family's tokenizer from its directory: one that Clozekit or KerasHub wrote, or files of Hugging Face."""

import functools
import importlib
from pathlib import Path
from typing import Any

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.family_names import FAMILIES
from clozekit.tokenizers.families.huggingface_tokenizers import check_overrides, hugging_face_tokenizer
from clozekit.tokenizers.settings.json_files import read_object
from clozekit.tokenizers.storage.file_systems import is_url, local_copy
from clozekit.tokenizers.storage.run_paths import tokenizer_of_run
from clozekit.tokenizers.tokenizer import ASSETS_FOLDER, TOKENIZER_FILE, Tokenizer


def tokenizer_class(family: str) -> type[Tokenizer]:
    """The class of a family's tokenizer, by the name of the family: a key of FAMILIES.

    Args:
        family: "bert", "distil_bert", "roberta", "albert", "xlm_roberta", "electra", "modern_bert" or "deberta_v3".

    Returns:
        The class, such as `BertTokenizer`; a KeyError or ModuleNotFoundError means another name.

    Example:

        >>> from clozekit.tokenizers.families.load_tokenizer import tokenizer_class
        >>> tokenizer_class("xlm_roberta").__name__
        'XLMRobertaTokenizer'
    """
    module = importlib.import_module(f"clozekit.tokenizers.families.{family}_tokenizer")
    found: type[Tokenizer] = getattr(module, f"{FAMILIES[family].prefix}Tokenizer")
    return found


@functools.cache
def tokenizer_classes() -> dict[str, type[Tokenizer]]:
    """Name of the class -> class, of all families."""
    return {cls.__name__: cls for cls in map(tokenizer_class, FAMILIES)}


def load_tokenizer(directory: str | Path, overrides: dict[str, Any] | None = None) -> Tokenizer:
    """The tokenizer of a directory or URL: one that `Tokenizer.save` wrote, also inside a preset, or files of Hugging Face.

    Args:
        directory: a local path or any fsspec URL such as gs://; also a run, or `run/latest`, `run/best`, `run/step-500`.
        overrides: constructor arguments that go before the stored settings.

    Returns:
        The tokenizer, of the class that the files name.

    Raises:
        InputError: when the directory holds none, or one of a class we don't know.
        TypeError: for an override that the class does not take.

    Example:

        >>> from clozekit.tokenizers.families.load_tokenizer import load_tokenizer
        >>> loaded = load_tokenizer("tiny/tokenizer", {"sequence_length": 4})
        >>> loaded.tokenize(["The dogs", "a"]).tolist()
        [[6, 14, 15, 0], [12, 0, 0, 0]]
    """
    overrides = overrides or {}
    directory = tokenizer_of_run(str(directory)) or directory
    if is_url(directory):
        with local_copy(str(directory)) as folder:
            try:
                return load_tokenizer(folder, overrides)
            except InputError as error:
                raise InputError(str(error).replace(str(folder), str(directory))) from error
    classes = tokenizer_classes()
    root = Path(directory)
    config_path = root / TOKENIZER_FILE
    described = read_object(config_path) if config_path.is_file() else {}
    if "class_name" not in described:
        return hugging_face_tokenizer(root, classes, overrides)
    name = described["class_name"]
    if not isinstance(name, str) or name not in classes:
        raise InputError(f"the tokenizer class must be one of {', '.join(classes)}, {config_path} says {name!r}")
    check_overrides(classes[name], overrides)
    try:
        return classes[name].from_assets(root / ASSETS_FOLDER, dict(described["config"]), overrides)
    except FileNotFoundError as error:
        raise InputError(f"a tokenizer must be whole, {root} misses {error.filename}; copy it again") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"a tokenizer must be whole, the settings in {config_path} are not ({error})") from error
