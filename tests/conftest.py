"""What many tests share: a small corpus, a small tokenizer, a small dataset."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Read when gcsfs is loaded; else it asks for a service that no storage server of a test has, and waits a minute.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
# Libraries that tell their makers of their use, ONNX Runtime as soon as it is imported: no network in tests.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

# What XLA compiles is kept for the tests alone: the process that began them removes it.
if "CLOZEKIT_PROGRAMS" not in os.environ:
    os.environ["CLOZEKIT_PROGRAMS"] = tempfile.mkdtemp(prefix="clozekit-programs-")
    atexit.register(shutil.rmtree, os.environ["CLOZEKIT_PROGRAMS"], ignore_errors=True)

import contextlib
import gc
import inspect
import json
import multiprocessing.util
import random
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

# TensorFlow and triton, which PyTorch brings, hold LLVM both: loaded after TensorFlow, triton takes TensorFlow's, and crashes.
with contextlib.suppress(ImportError):
    import triton  # noqa: F401

import hypothesis
import pytest

from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

# By default Python searches for garbage after every 700 new objects; a traced graph has hundreds of thousands, all alive.
# Here after a million, and among all after five: what twenty small runs leave.
gc.set_threshold(1_000_000, 1, 5)

# What tests share; processes that they start get this folder too.
HELPERS = Path(__file__).parent / "helpers"
sys.path.append(str(HELPERS))

from grammar import sentences  # noqa: E402
from long_variants import FULL  # noqa: E402

# `make test-fast`: the quick tests alone, with few of their cases.
FAST = os.environ.get("CLOZEKIT_FAST") == "1"
# Graphs are optimized in the tests' own process too.
OPTIMIZED = FULL or os.environ.get("CLOZEKIT_OPTIMIZED") == "1"

# No time limits: a first call compiles. The same examples in every run.
hypothesis.settings.register_profile(
    "clozekit",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    max_examples=10 if FAST else 100,
)
hypothesis.settings.load_profile("clozekit")

WORDS = [
    "the",
    "cat",
    "dog",
    "bird",
    "sat",
    "ran",
    "flew",
    "on",
    "over",
    "under",
    "a",
    "red",
    "blue",
    "old",
    "mat",
    "house",
    "tree",
    "and",
    "then",
    "it",
    "was",
    "very",
    "happy",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="session", autouse=True)
def temporary_files() -> Iterator[None]:
    """Beam and PyTorch leave directories in the system's folder for temporary files: here they go with the tests."""
    # What forks processes keeps its socket here until Python ends, after the tests.
    multiprocessing.util.get_temp_dir()
    # Not below pytest's own folder: paths of sockets may have 107 characters.
    directory = tempfile.mkdtemp(prefix="clozekit-tests-")
    patch = pytest.MonkeyPatch()
    patch.setenv("TMPDIR", directory)
    patch.setattr(tempfile, "tempdir", directory)
    yield
    patch.undo()
    # What still writes here now is a thread of Beam's.
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def tokenizer() -> BertTokenizer:
    letters = sorted({letter for word in WORDS for letter in word})
    pieces = [*SPECIAL, ".", *letters, *(f"##{letter}" for letter in letters), *(w for w in WORDS if len(w) > 1)]
    return BertTokenizer(pieces, lowercase=True)


@pytest.fixture(scope="session")
def tokenizer_directory(tokenizer: BertTokenizer, tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(directory)
    return str(directory)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 documents of 1 to 12 sentences, JSON lines."""
    path = tmp_path_factory.mktemp("corpus") / "documents.jsonl"
    dice = random.Random(0)
    lines = [
        json.dumps({"id": f"doc-{number}", "text": " ".join(sentences(number, dice.randint(1, 12)))}) + "\n"
        for number in range(300)
    ]
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def dataset(corpus: Path, tokenizer_directory: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Manifest]:
    """The corpus as rows of 32 tokens in 3 train shards."""
    # Here, so that tests that need no Beam load none.
    from clozekit.pipelines.prepare import prepare

    directory = str(tmp_path_factory.mktemp("dataset"))
    options = PrepareSettings(sequence_length=32, validation_rate=0.1, num_shards=3)
    manifest, _ = prepare(ReadSettings((str(corpus),)), options, tokenizer_directory, directory)
    return directory, manifest


# CLOZEKIT_FUZZ_SECONDS=60 runs the fuzzes alone, each for its share of a minute.
FUZZ_SECONDS = float(os.environ.get("CLOZEKIT_FUZZ_SECONDS", "0"))
# Files of few long tests, which would keep one process busy at the end while the other has nothing left; in this order. The first
# compiles the kernels of all families, which those after the next ones find compiled.
LONG_FILES = (
    "test_bench_command.py",
    "test_replicas.py",
    "test_kills.py",
    "test_courses.py",
    "test_run.py",
    "test_slurm_jobs.py",
    "test_screens.py",
    "test_google_storage.py",
    "test_engines.py",
    "test_type_checking.py",
    "test_keras_hub_preprocessors_parity.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object | None) -> None:
    """Ends the run when one of its processes crashed: xdist would wait for the rest of that process's file, for ever."""
    if error:
        pytest.exit(
            f"a process of the tests ended in the middle of one (the last lines above say where): {error}", returncode=1
        )


# The file of the last test.
LAST_FILE = pytest.StashKey[Path]()

# What takes seconds: processes, pipelines on Beam, whole runs, commands on models.
SLOW_NAMES = {
    "subprocess",
    "started",
    "ForkedPython",
    "prepare",
    "make_vocabulary",
    "open_pipeline",
    "Run",
    "finetune",
    "fit",
    "run_command",
}


def calls_slow(function: Callable[..., object], seen: set[object]) -> bool:
    """Does a function of the tests name something slow, itself or in a function of the tests that it calls?"""
    function = inspect.unwrap(function)
    if function in seen or not isinstance(function, types.FunctionType):
        return False
    seen.add(function)
    codes = [function.__code__]
    # Functions inside functions stand among the constants.
    for code in codes:
        codes += [inner for inner in code.co_consts if isinstance(inner, types.CodeType)]
    names = {name for code in codes for name in code.co_names}
    values = [function.__globals__.get(name) for name in names]
    tests = [
        value for value in values if "/tests/" in str(getattr(getattr(value, "__code__", None), "co_filename", ""))
    ]
    return bool(names & SLOW_NAMES) or any(calls_slow(value, seen) for value in tests)


def is_slow(item: pytest.Item) -> bool:
    """Is it marked so, or is it, or a fixture of it, built on what takes seconds? The dataset that all share is made once."""
    if item.get_closest_marker("slow"):
        return True
    fixtures = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    made = [found[-1].func for name, found in fixtures.items() if name != "dataset"]
    seen: set[object] = set()
    return any(calls_slow(function, seen) for function in (item.function, *made))  # type: ignore[attr-defined]


def fast_items(items: list[pytest.Item]) -> list[pytest.Item]:
    """What `make test-fast` runs: of every quick test its first case, and of every folder at least one test."""
    first = {(item.path, item.originalname): item for item in reversed(items)}.values()  # type: ignore[attr-defined]
    fast = [item for item in reversed(first) if not is_slow(item)]
    missing = sorted({str(item.path.parent) for item in items} - {str(item.path.parent) for item in fast})
    if missing:
        raise pytest.UsageError(
            f"every folder of tests must hold a quick test for make test-fast, none is in {missing}"
        )
    return fast


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if FAST:
        items[:] = fast_items(items)
    places = {name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
    if FUZZ_SECONDS:
        items[:] = [item for item in items if item.name.startswith("test_fuzz")]
        processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        os.environ["CLOZEKIT_FUZZ_EACH_SECONDS"] = str(FUZZ_SECONDS * processes / max(1, len(items)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """On a developer's machine TensorFlow runs the graphs of this process as they are traced: to optimize one takes longer than
    what a test runs of it. So do the processes that are forked from it. CI optimizes them as users' processes do
    (CLOZEKIT_OPTIMIZED=1), and so do Python where tests start it anew, the long variants and the tests of parity. A test that is
    compared with such a Python takes `optimized_graphs`."""
    is_of_parity = any("parity" in item.path.parts for item in session.items)
    if "tensorflow" in sys.modules and not OPTIMIZED and not is_of_parity:
        set_graph_optimizer(False)


def set_graph_optimizer(is_on: bool) -> None:
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not is_on})


@pytest.fixture(scope="module")
def optimized_graphs() -> Iterator[None]:
    """TensorFlow optimizes the graphs of this process, as in users' processes: losses are the same to the last bit."""
    import tensorflow as tf

    before = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    set_graph_optimizer(True)
    yield
    set_graph_optimizer(not before)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Takes what the libraries and the files before have left out of Python's search for garbage: of TensorFlow alone a million
    objects, which take most of a second."""
    is_first, is_new = LAST_FILE not in item.config.stash, item.config.stash.get(LAST_FILE, None) != item.path
    item.config.stash[LAST_FILE] = item.path
    # Where Python has searched by itself since: a million new objects or more.
    if is_new and not is_first and any(gc.get_count()[1:]):
        gc.collect()
        gc.freeze()
    if is_first:
        # Libraries alone, which leave no garbage worth the second that it takes to find.
        gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """A file of tests that leaves the process in another folder is red itself, not one of those behind it."""
    if nextitem is not None and nextitem.path == item.path:
        return
    begun = item.config.invocation_params.dir
    with contextlib.suppress(FileNotFoundError):
        if Path.cwd() == begun:
            return
    os.chdir(begun)
    pytest.fail(f"the tests of a file must leave the working directory {begun} as it was")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A find is shown at once, not at the end of the hour."""
    if FUZZ_SECONDS and report.failed:
        print(f"\n{report.nodeid}\n{report.longreprtext[-4000:]}", flush=True)
