"""Nobody loses a file: whatever lies beside, inside or above an output, every byte of it is there after any command.

CLOZEKIT_FULL=1 tries ten times as many folders and moments of a kill.
"""

import json
import random
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import fsspec
import pytest
import small_families as small
import yaml
from dies import KILLED
from helper_folder import HELPERS
from long_variants import FULL
from processes import ran

from clozekit.deploy.cli.main import main
from clozekit.deploy.demo import demo_corpus, run_demo
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.tokenizers.storage.owned_files import OWNED_FILE, list_files, read_owned

TREES = 60 if FULL else 4
KILLS = (1, 2, 3, 5, 8, 13, 21, 34) if FULL else (4, 11)
SHARD = "train-00000-of-00001-0a1b2c3d.tfrecord"
# Names that the commands write, or once removed, and some that nobody would.
NASTY = (
    "report.html", "data-card.md", "manifest.json", "_lock", "_lock/mine", SHARD, f"{SHARD}.1234abcd.tmp",
    "validation-00000-of-00001-xxxxxxxx.tfrecord", "_parts/mine.txt", "_parts/0123456789abcdef/train-00000.json",
    "_blocks/mine", f"_blocks-0123456789abcdef/{'0' * 32}", "_words/000.json", "_words-0123456789abcdef/000.json",
    "duplicates/part-00000-deadbeef.jsonl", "rejects/part-00000-deadbeef.jsonl.gz", "deadletter/x", "contaminated/y",
    "tokenizer/model.safetensors", "tokenizer/config.json", "tokenizer/tokenizer.json", "tokenizer.json",
    "assets/tokenizer/vocabulary.txt", "config.json", "model.weights.h5", "train.py", "checkpoints/x.bin",
    "checkpoints/step-00000001/state.json", "checkpoints/step-00000001.damaged/x", "tensorboard/train/events.out.tfevents.1",
    "metrics.jsonl", "config.yaml", "result.json", "predictions/valid.tsv", "preset/train.py", "saved_model.pb",
    "variables/variables.index", "_export.json", "train-00000-of-00001.parquet", "train.yaml", "corpus/python-docs.jsonl",
    "job.sh", ".hidden", "16/notes.txt", "32/manifest.json", OWNED_FILE, "deep/er/than/that", "\u4e2d\u6587 name",
)  # fmt: skip
BESIDE = (
    "out.tmp/x",
    "out.old/x",
    "out.export.tmp/x",
    ".out.tmp",
    ".out.old/y",
    ".out.0123456789abcdef.old/z",
    "out.bak",
)


def contents(root: Path) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in list_files(root)}


def plant(root: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Files of somebody's: each under its name, where no other stands in the way."""
    planted = {}
    for name in names:
        path = root / name
        if not path.exists() and not any(parent.is_file() for parent in path.parents):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"precious {name}".encode())
            planted[name] = path.read_bytes()
    return planted


@pytest.fixture(scope="module")
def given(
    tmp_path_factory: pytest.TempPathFactory, corpus: Path, tokenizer_directory: str, dataset: tuple[str, Manifest]
) -> Path:
    """What the commands read, which they don't touch either."""
    root = tmp_path_factory.mktemp("given")
    shutil.copytree(tokenizer_directory, root / "tokenizer")
    shutil.copytree(dataset[0], root / "dataset")
    shutil.copy(corpus, root / "corpus.jsonl")
    small.masked_lm("bert", small.masked_lm_preprocessor("bert")).save_to_preset(str(root / "preset"))
    config = {
        "dataset": str(root / "dataset"),
        "model": {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16},
        "train": {"steps": 4, "global_batch_size": 4, "steps_per_loop": 2, "xla": False},
        "evaluate": {"every_steps": 2, "max_rows": 8},
        "checkpoint": {"every_steps": 2},
    }
    (root / "train.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (root / "texts.txt").write_text("the dog was quick .\n", encoding="utf-8")
    rows = "".join(f"{number % 2}\tthe dog was quick {number}\n" for number in range(16))
    (root / "valid.tsv").write_text("label\ttext\n" + rows, encoding="utf-8")
    return root


def commands(given: Path, out: Path) -> dict[str, list[str]]:
    """Verb -> the command that writes into `out`."""
    reading = ["--input", str(given / "corpus.jsonl")]
    rows = [*reading, "--tokenizer", str(given / "tokenizer"), "--output", str(out), "--deduplicate", "exact"]
    data = f"data={{train: {given / 'valid.tsv'}, validation: {given / 'valid.tsv'}, text: text, label: label}}"
    return {
        "prepare": ["prepare", *rows, "--sequence-length", "32"],
        "prepare lengths": ["prepare", *rows, "--sequence-length", "16", "32"],
        "vocab": ["vocab", *reading, "--output", str(out), "--vocabulary-size", "60"],
        "export": ["export", str(given / "dataset"), str(out), "--to", "parquet"],
        "convert": ["convert", str(given / "preset"), str(out), "--to", "keras_hub"],
        "train": ["train", str(given / "train.yaml"), f"directory={out}"],
        "finetune": [
            "finetune",
            *(f"init_from={given / 'preset'}", f"directory={out}", data),
            *("train.epochs=1", "train.global_batch_size=4", "sequence_length=16", "train.xla=false"),
        ],
        "evaluate": [
            *("evaluate", str(given / "preset"), "--texts", str(given / "texts.txt")),
            *("--output", str(out / "result.json")),
        ],
    }


VERBS = tuple(commands(Path(), Path()))
REPLACE = {"prepare", "prepare lengths", "vocab", "export"}


def check_untouched(root: Path, planted: dict[str, bytes]) -> None:
    now = contents(root)
    assert {name: now.get(name) for name in planted} == planted


@pytest.mark.parametrize("place", ["{}/file", "{}/file/out", "/dev/null", "/dev/null/out", "/proc/out"])
@pytest.mark.parametrize("verb", VERBS)
def test_where_no_folder_can_be_is_refused_in_one_line(
    verb: str, place: str, given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(given)
    (tmp_path / "file").write_bytes(b"mine")
    out = Path(place.format(tmp_path))
    # What only the system knows, as of /proc, is a failure; the rest is refused before anything begins.
    assert main(commands(given, out)[verb]) in ((1, 2) if place == "/proc/out" else (2,))
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith(f"clozekit {verb.split()[0]}: ")
    assert any(str(folder) in said for folder in (out, *out.parents[:-1]))
    assert contents(tmp_path) == {"file": b"mine"} and contents(given) == before


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_every_foreign_byte_is_there_after_the_command_and_after_it_ran_again(
    verb: str, given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, num_refused = contents(given), 0
    # What loads a model takes seconds: one tree without files inside of the output and one with some, of evaluate the latter.
    few = {"train": range(2), "finetune": range(2), "evaluate": range(1, 2)}
    trees = range(TREES) if FULL else few.get(verb, range(TREES))
    for number in trees:
        dice, root = random.Random(number), tmp_path / str(number)
        out = root / "out"
        inside = dice.sample(NASTY, k=dice.randint(1, 4)) if number else []
        around = dice.sample(BESIDE, k=2) + ["precious.txt", "train.py"]
        planted = plant(root, [*(f"out/{name}" for name in inside), *around])
        listed = list_files(root)
        more = ["--overwrite"] if verb in REPLACE and dice.random() < 0.5 else []
        command = [*commands(given, out)[verb], *more]
        status = main(command)
        check_untouched(root, planted)
        error = capsys.readouterr().err
        if status:
            # Refused before anything was written, and the name of what is in the way is said.
            assert status == 2, error
            assert any(name.split("/")[0] in error for name in inside) or "holds a dataset itself" in error, error
            assert list_files(root) == listed
            num_refused += 1
        # Notes beside a run are in nobody's way.
        assert status or not inside or verb in ("train", "finetune", "evaluate")
        # With files put in afterwards, and asked to do it again.
        planted |= plant(root, [f"out/{name}" for name in dice.sample(NASTY, k=3)])
        main([*commands(given, out)[verb], *(["--overwrite"] if verb in REPLACE else [])])
        check_untouched(root, planted)
        capsys.readouterr()
    assert num_refused < len(trees)
    assert contents(given) == before


@pytest.mark.parametrize("verb", VERBS if FULL else ("prepare", "vocab", "export", "convert"))
def test_every_foreign_byte_is_there_when_the_command_is_killed_and_run_again(
    verb: str, given: Path, tmp_path: Path
) -> None:
    for moment in KILLS:
        root = tmp_path / str(moment)
        out = root / "out"
        planted = plant(root, ["precious.txt", *BESIDE])
        command = commands(given, out)[verb]
        status, output = ran(str(HELPERS / "dies.py"), str(moment), *command)
        assert status in (0, KILLED), output
        check_untouched(root, planted)
        assert main(command) == 0
        check_untouched(root, planted)
        # What the killed one left is gone: what is there now is ours by the list beside it, or was planted.
        known = {f"out/{name}" for name in (*getattr(read_owned(out), "names", ()), OWNED_FILE)}
        assert set(list_files(root)) - known - set(planted) <= kept_by(verb, out)
        more = plant(root, [f"out/{name}" for name in NASTY])
        main(command)
        check_untouched(root, {**planted, **more})


def kept_by(verb: str, out: Path) -> set[str]:
    """What a command leaves that its list of files does not name one by one."""
    if verb.startswith("prepare"):
        return {f"out/{name}" for name in list_files(out) if name.startswith(("duplicates/", "16/", "32/"))}
    if verb in ("train", "finetune"):
        return {
            f"out/{name}" for name in list_files(out) if name.startswith(("checkpoints/", "tensorboard/", "preset/"))
        }
    return set()


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["prepare", "vocab", "export", "convert"])
def test_every_foreign_object_of_a_store_is_there(verb: str, given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, again = fsspec.filesystem("memory"), ["--overwrite"] if verb in REPLACE else []
    command = [word.replace("OUT", "memory://foreign/out") for word in commands(given, Path("OUT"))[verb]]
    try:
        store.pipe_file("/foreign/out/config.json", b"precious")
        assert main(command) == 2
        assert "config.json" in capsys.readouterr().err
        assert store.find("/foreign") == ["/foreign/out/config.json"]
        store.rm_file("/foreign/out/config.json")
        assert main(command) == 0
        whole = set(store.find("/foreign"))
        store.pipe_file("/foreign/out/duplicates/mine", b"precious")
        assert main([*command, *again]) == 2
        assert store.cat_file("/foreign/out/duplicates/mine") == b"precious"
        store.rm_file("/foreign/out/duplicates/mine")
        assert main([*command, *again]) == 0
        assert set(store.find("/foreign")) == whole
    finally:
        store.rm("/foreign", recursive=True)


def test_a_project_with_a_tokenizer_of_somebodys_is_no_output(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    shutil.copytree(given / "tokenizer", project / "tokenizer")
    planted = plant(project, ["tokenizer/model.safetensors", "tokenizer/config.json", "tokenizer/vocab.txt"])
    monkeypatch.chdir(project)
    arguments = ["prepare", "--input", str(given / "corpus.jsonl"), "--tokenizer", "tokenizer", "--output", "."]
    for more in ([], ["--overwrite"]):
        assert main([*arguments, "--sequence-length", "32", *more]) == 2
        assert "tokenizer/config.json" in capsys.readouterr().err
        check_untouched(project, planted)


@pytest.mark.parametrize("target", ["preset/inner", "preset", ".", "dataset/preset"])
def test_no_output_goes_into_what_it_is_made_from_or_into_another_output(
    target: str, given: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(given)
    assert main(["convert", str(given / "preset"), str(given / target), "--to", "huggingface"]) == 2
    assert "a preset goes" in capsys.readouterr().err
    assert contents(given) == before


@pytest.mark.slow
def test_a_build_of_several_lengths_is_done_again_over_its_own(given: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = commands(given, out)["prepare lengths"]
    assert main(command) == 0
    before = {name: content for name, content in contents(out).items() if name.endswith(".tfrecord")}
    assert main(command) == 0
    assert main([*command, "--overwrite"]) == 0
    assert {name: content for name, content in contents(out).items() if name.endswith(".tfrecord")} == before


SMALL = "num_layers: 1, num_heads: 2, hidden_dim: 8, intermediate_dim: 16"


@pytest.mark.slow
def test_the_demo_replaces_only_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo_corpus, "gather_documents", few_documents)
    # A smaller model, not compiled; test_text_to_preset.py runs the demo's own.
    smaller = run_demo.CONFIG.replace("num_layers: 2, num_heads: 2, hidden_dim: 128, intermediate_dim: 512", SMALL)
    monkeypatch.setattr(run_demo, "CONFIG", smaller.replace("steps_per_loop: 50", "steps_per_loop: 50, xla: false"))
    out = tmp_path / "demo"
    planted = plant(tmp_path, ["demo/report.html", "demo/notes.txt"])
    arguments = ["demo", "--directory", str(out), "--steps", "2"]
    assert main(arguments) == 2
    assert "report.html" in capsys.readouterr().err
    check_untouched(tmp_path, planted)
    assert list_files(out) == ["notes.txt", "report.html"]
    (out / "report.html").unlink()
    del planted["demo/report.html"]
    assert main(arguments) == 0
    assert "hidden_dim: 8" in (out / "run/config.yaml").read_text(encoding="utf-8")
    # Another course: the run begins anew, and what lies in its folder stays.
    planted |= plant(
        tmp_path, ["demo/run/notes.txt", "demo/run/checkpoints/step-00000002/mine", "demo/run/plots/loss.png"]
    )
    assert main([*arguments[:-1], "3"]) == 0
    check_untouched(tmp_path, planted)
    assert json.loads((out / "run/metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])["step"] == 3


def few_documents() -> Iterator[dict[str, str]]:
    for number in range(400):
        words = random.Random(number).choices(["the", "list", "of", "a", "value", "returns", "error", "is"], k=40)
        yield {"id": str(number), "text": " ".join(words)}
