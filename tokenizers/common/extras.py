"""The extras of `pip install clozekit`, by the modules that show whether one is installed, and the error when it is not."""

import importlib.util
import sys
from collections.abc import Sequence

from clozekit.tokenizers.common.errors import InputError

# As in setup.py, which a test compares with this.
EXTRAS = {
    "pipelines": ("apache_beam", "tfx_bsl"),
    "training": ("matplotlib", "tensorboard"),
    "gcs": ("gcsfs", "google.cloud.storage"),
    "clean": ("ftfy", "py3langid"),
    "warc": ("fastwarc", "resiliparse"),
    "kaggle": ("kagglehub",),
    "huggingface": ("huggingface_hub",),
    "pubsub": ("google.cloud.pubsub_v1",),
    "kafka": ("confluent_kafka",),
    "dataflow": ("google.cloud.dataflow_v1beta3",),
    "vertex": ("google.cloud.aiplatform_v1",),
    "gke": ("kubernetes",),
    "onnx": ("onnx", "onnxruntime"),
    "litert": ("ai_edge_litert",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
    "sweep": ("optuna",),
}


class MissingExtraError(InputError):
    """What was asked for needs an extra that is not installed; the command exits with 3."""


def require_extras(what: str, *extras: str, instead: str = "") -> None:
    """Raises MissingExtraError unless every package of the extras is there; loads none of them. instead: another way."""
    missing = {name: [module for module in EXTRAS[name] if not _is_installed(module)] for name in extras}
    lacking = [name for name in extras if missing[name]]
    if lacking:
        modules = [module for name in lacking for module in missing[name]]
        raise missing_extras(what, modules, lacking, instead)


def missing_extras(what: str, modules: Sequence[str], extras: Sequence[str], instead: str = "") -> MissingExtraError:
    return MissingExtraError(
        f"{what} needs packages that are not installed ({', '.join(modules)}); run: pip install"
        f" 'clozekit[{','.join(extras)}]'{instead}"
    )


def extra_of(module: str) -> str | None:
    """The extra that brings a module, or the package it is in."""
    brings = (extra for extra, names in EXTRAS.items() for name in names if f"{module}.".startswith(f"{name}."))
    return next(brings, None)


def _is_installed(module: str) -> bool:
    if module in sys.modules:
        return sys.modules[module] is not None
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        # The package around it.
        return False
