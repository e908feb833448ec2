"""The platforms that jobs go to, a line each; their files are loaded when they are asked for."""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clozekit.tokenizers.common.extras import require_extras

if TYPE_CHECKING:
    from clozekit.deploy.submit.backend import Backend


@dataclass(frozen=True)
class Platform:
    """module: the file in this folder whose BACKEND it is; example: what stands behind `clozekit submit NAME job.yaml`;
    extras: what it needs of Clozekit's, a dry run too."""

    module: str
    summary: str
    example: str
    extras: tuple[str, ...] = ()


PLATFORMS = {
    "dataflow": Platform(
        "dataflow",
        "Prepare on Dataflow",
        "-- prepare --input 'gs://bucket/docs/*' --tokenizer gs://bucket/tokenizer --output gs://bucket/dataset",
        ("pipelines", "gcs", "dataflow"),
    ),
    "flink": Platform(
        "flink",
        "Prepare, or freeze a stream, on a Flink cluster that runs, or as one of the Flink Kubernetes Operator",
        "--wait -- prepare --input 'gs://bucket/docs/*' --tokenizer gs://bucket/tokenizer --output gs://bucket/dataset",
        ("pipelines",),
    ),
    "spark": Platform(
        "spark",
        "Prepare on a Spark cluster, by Beam's job server",
        "--wait -- prepare --input 'gs://bucket/docs/*' --tokenizer gs://bucket/tokenizer --output gs://bucket/dataset",
        ("pipelines",),
    ),
    "vertex": Platform(
        "vertex",
        "Train as a CustomJob of Vertex AI",
        "num_workers=4 --dry-run -- train config.yaml train.steps=5000",
        ("vertex",),
    ),
    "gke": Platform("gke", "Train on a Kubernetes cluster: a JobSet, or an Indexed Job", "--wait -- train config.yaml"),
    "tpu": Platform("tpu", "Train on a TPU VM, as a queued resource", "--wait -- train config.yaml"),
    "slurm": Platform("slurm_jobs", "Train as a batch job of Slurm", "-- train config.yaml"),
}


def load_backend(name: str) -> "Backend":
    """The backend of a name in PLATFORMS. Raises MissingExtraError when what it needs is not installed."""
    require_extras(f"a job for {name}", *PLATFORMS[name].extras)
    module = importlib.import_module(f"clozekit.deploy.submit.{PLATFORMS[name].module}")
    backend: Backend = module.BACKEND
    return backend
