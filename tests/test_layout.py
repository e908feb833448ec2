"""The rooms import one another as the table says, without circles, and every file says first what it is."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("tokenizers", "pipelines", "model", "deploy")
# Every room may import itself and this one, which imports nothing of ours.
COMMON = "tokenizers/common"
# Room -> the rooms of ours that its files may import, wherever the import stands. Within a folder from the ground up.
ARROWS = {
    "tokenizers/common": "",
    "tokenizers/storage": "",
    "tokenizers/settings": "tokenizers/storage",
    "tokenizers/kernels": "",
    "tokenizers/formats": "tokenizers/kernels",
    "tokenizers/hub": "tokenizers/settings tokenizers/storage",
    "tokenizers": "tokenizers/formats tokenizers/hub tokenizers/kernels tokenizers/settings tokenizers/storage",
    "tokenizers/families": "tokenizers tokenizers/formats tokenizers/hub tokenizers/settings tokenizers/storage",
    "tokenizers/learning": "tokenizers tokenizers/families tokenizers/formats tokenizers/kernels",
    "pipelines/storage": "tokenizers/storage",
    "pipelines/text_files": "tokenizers/storage",
    "pipelines/dataset": "pipelines/storage pipelines/text_files tokenizers tokenizers/families tokenizers/formats"
    " tokenizers/settings tokenizers/storage",
    "pipelines/settings": "pipelines/dataset pipelines/text_files tokenizers/formats tokenizers/settings",
    "pipelines/running": "pipelines/storage pipelines/text_files tokenizers/storage",
    "pipelines/reading": "pipelines/dataset pipelines/running pipelines/settings pipelines/storage pipelines/text_files"
    " tokenizers/storage",
    "pipelines/cleaning": "pipelines/running pipelines/settings pipelines/storage pipelines/text_files tokenizers/kernels"
    " tokenizers/storage",
    # By their names alone `pipelines/cleaning` calls them.
    "pipelines/cleaning/steps": "pipelines/cleaning pipelines/settings",
    "pipelines/duplicates": "pipelines/cleaning pipelines/dataset pipelines/reading pipelines/running pipelines/settings"
    " tokenizers/kernels",
    "pipelines/rows": "pipelines/dataset pipelines/running pipelines/settings pipelines/storage pipelines/text_files"
    " tokenizers tokenizers/families tokenizers/settings tokenizers/storage",
    "pipelines": "pipelines/cleaning pipelines/dataset pipelines/duplicates pipelines/reading pipelines/rows"
    " pipelines/running pipelines/settings pipelines/storage pipelines/text_files tokenizers"
    " tokenizers/families tokenizers/learning tokenizers/storage",
    "pipelines/streaming/sources": "pipelines/reading pipelines/running pipelines/settings pipelines/storage"
    " pipelines/text_files",
    "pipelines/streaming": "pipelines pipelines/cleaning pipelines/dataset pipelines/duplicates pipelines/rows"
    " pipelines/running pipelines/settings pipelines/storage pipelines/streaming/sources pipelines/text_files tokenizers"
    " tokenizers/families tokenizers/storage",
    "model/common": "",
    "model/layers": "model/common model/masking",
    "model/masking": "model/common",
    "model/reading": "model/common model/masking pipelines/dataset",
    "model/preprocessing": "model/common model/layers model/masking tokenizers tokenizers/families tokenizers/hub",
    "model/tasks": "model/common model/layers model/preprocessing tokenizers tokenizers/hub tokenizers/settings",
    "model/families": "model/common model/layers model/preprocessing model/tasks tokenizers tokenizers/families"
    " tokenizers/formats",
    # A checkpoint of a run is a model too.
    "model/presets": "model/common model/families model/preprocessing model/tasks"
    " model/training/run_directory tokenizers"
    " tokenizers/families tokenizers/hub tokenizers/settings tokenizers/storage",
    # The public names, loaded when they are asked for.
    "model": "model/families model/preprocessing model/presets model/tasks tokenizers",
    "model/training/settings": "model/reading pipelines/text_files tokenizers/hub tokenizers/settings",
    "model/training/objectives": "model/common model/layers model/tasks model/training/settings",
    "model/training/cluster": "model/common model/training/settings tokenizers/settings",
    "model/training/run_directory": "model/training/objectives tokenizers/settings tokenizers/storage",
    "model/training/following": "model/reading model/training/run_directory model/training/settings pipelines/dataset",
    "model/training": "model/common model/families model/masking model/presets model/reading model/tasks"
    " model/training/cluster model/training/following model/training/objectives model/training/optimizers"
    " model/training/run_directory model/training/settings model/training/watching pipelines/dataset tokenizers"
    " tokenizers/families tokenizers/settings tokenizers/storage",
    "model/training/finetuning/examples": "model/preprocessing model/tasks model/training/objectives model/training/settings pipelines/text_files"
    " tokenizers/settings tokenizers/storage",
    # A kind of fine-tuning a file.
    "model/training/finetuning/kinds": "model/common model/preprocessing model/tasks model/training/finetuning/examples"
    " model/training/objectives model/training/settings",
    "model/training/finetuning": "model/training/finetuning/examples model/training/finetuning/kinds model/common model/preprocessing model/presets model/tasks model/training model/training/cluster"
    " model/training/optimizers model/training/run_directory model/training/settings model/training/watching"
    " tokenizers/storage",
    "model/training/reports": "model/tasks model/training model/training/finetuning model/training/run_directory"
    " model/training/settings"
    " pipelines/dataset",
    "deploy/formats": "model/preprocessing model/presets model/tasks tokenizers",
    "deploy": "deploy/formats model/common model/families model/presets model/tasks model/training"
    " model/training/run_directory pipelines/dataset tokenizers tokenizers/hub tokenizers/settings tokenizers/storage",
    "deploy/doctor": "deploy model model/reading model/training/cluster model/training/settings pipelines/dataset"
    " tokenizers/families tokenizers/storage",
    "deploy/adapt": "model/families model/presets model/tasks model/training model/training/reports"
    " model/training/run_directory model/training/settings pipelines pipelines/reading pipelines/settings"
    " pipelines/text_files tokenizers/settings tokenizers/storage",
    "deploy/demo": "deploy model/presets model/training model/training/reports model/training/run_directory"
    " model/training/settings pipelines pipelines/dataset pipelines/settings pipelines/storage pipelines/streaming tokenizers"
    " tokenizers/families tokenizers/settings tokenizers/storage",
    "deploy/publish": "model/families deploy model/presets model/tasks model/training/run_directory pipelines/dataset tokenizers/hub"
    " tokenizers/settings tokenizers/storage",
    "deploy/submit": "model/training/settings pipelines pipelines/dataset pipelines/running pipelines/settings"
    " pipelines/storage pipelines/streaming tokenizers/settings tokenizers/storage",
    # What a sweep tries and when it stops a run: a recipe holds that, so it knows nothing of workflows.
    "deploy/workflow/sweeps/rules": "tokenizers/settings",
    "deploy/workflow": "deploy deploy/adapt deploy/submit deploy/workflow/sweeps/rules"
    " model/training/finetuning/examples model/training/reports model/training/settings pipelines/dataset pipelines/settings"
    " tokenizers/hub tokenizers/settings tokenizers/storage",
    "deploy/workflow/sweeps": "deploy/workflow deploy/workflow/sweeps/rules model/training/run_directory tokenizers/settings"
    " tokenizers/storage",
    # Nothing imports the command but the template that runs it.
    "deploy/bench": "deploy model/masking model/reading model/training/watching pipelines pipelines/cleaning pipelines/dataset"
    " pipelines/duplicates pipelines/settings pipelines/storage tokenizers/families",
    "deploy/cli": "deploy deploy/adapt deploy/bench deploy/demo deploy/doctor deploy/publish deploy/submit deploy/workflow deploy/workflow/sweeps"
    " deploy/workflow/sweeps/rules model/presets model/tasks model/training"
    " model/training/cluster model/training/finetuning model/training/finetuning/examples model/training/reports model/training/run_directory"
    " model/training/settings pipelines pipelines/dataset pipelines/running pipelines/settings pipelines/storage"
    " pipelines/streaming pipelines/text_files tokenizers/families tokenizers/settings tokenizers/storage",
    "deploy/flex_template": "deploy/cli deploy/submit",
    "model/training/watching": "model/common model/training/run_directory",
    "model/training/optimizers": "model/common model/training/cluster model/training/settings",
}
# What goes up: `from_preset` of a class asks what knows all classes, on first use.
DOORS = {
    ("model/common/preset_doors.py", "model/presets"),
    ("tokenizers/tokenizer.py", "tokenizers/families"),
}
# Room -> packages that none of its files, and none of those of the rooms inside, may import.
FORBIDDEN = {
    "tokenizers": {"apache_beam", "keras", "keras_hub"},
    "tokenizers/settings": {"tensorflow", "numba"},
    "pipelines": {"keras", "keras_hub"},
    "pipelines/dataset": {"apache_beam"},
    "pipelines/settings": {"apache_beam", "tensorflow", "numba"},
    "pipelines/storage": {"apache_beam"},
    "pipelines/text_files": {"apache_beam"},
    "model": {"apache_beam", "keras_hub"},
    "model/training/settings": {"tensorflow", "keras", "numba"},
    "deploy": {"keras_hub"},
}


def room_of(path: str) -> str:
    return path.rpartition("/")[0]


@functools.cache
def sources() -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


@functools.cache
def source_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@functools.cache
def docstring_and_imports(source: str) -> tuple[str | None, frozenset[str]]:
    """The docstring of `source`, and the dotted names of what it imports, wherever the import stands; parsed once for all."""
    names: set[str] = set()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, by the clozekit namespace"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return ast.get_docstring(tree), frozenset(names)


def modules_imported(source: str) -> frozenset[str]:
    return docstring_and_imports(source)[1]


@functools.cache
def files_imported(source: str) -> frozenset[str]:
    """Our files and rooms that `source` imports: of `clozekit.a.b.name` the file a/b/name.py, else a/b.py or the room."""
    found = set()
    for name in modules_imported(source):
        if not name.startswith("clozekit."):
            continue
        parts = name.split(".")[1:]
        for length in range(len(parts), 0, -1):
            place = "/".join(parts[:length])
            if (ROOT / f"{place}.py").exists():
                found.add(f"{place}.py")
                break
            if (ROOT / place).is_dir() or length == 1:
                found.add(f"{place}/__init__.py")
                break
    return frozenset(found)


def broken_rules(path: str, source: str) -> list[str]:
    """The imports of `source`, a file at `path` below the root, that the tables do not allow."""
    room = room_of(path)
    allowed = {room, COMMON, *ARROWS[room].split()}
    forbidden = set[str]().union(
        *(names for place, names in FORBIDDEN.items() if room == place or room.startswith(f"{place}/"))
    )
    broken = [
        f"{path} imports {file}"
        for file in sorted(files_imported(source))
        if room_of(file) not in allowed and (path, room_of(file)) not in DOORS
    ]
    return broken + [
        f"{path} imports {name}" for name in sorted(modules_imported(source)) if name.split(".")[0] in forbidden
    ]


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """A circle of arrows, as the names along it, the first one again at its end; empty if there is none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(arrows.get(name, ())):
            found = walk(other, [*path, name])
            if found:
                return found
        done.add(name)
        return []

    return next((found for name in sorted(arrows) if (found := walk(name, []))), [])


def arrows_between_files() -> dict[str, set[str]]:
    """File -> the files that it imports, the doors and the public names of rooms aside."""
    return {
        path: {
            file
            for file in files_imported(source_of(path))
            if not file.endswith("/__init__.py") and file != path and (path, room_of(file)) not in DOORS
        }
        for path in sources()
        if not path.endswith("/__init__.py")
    }


@pytest.mark.parametrize("path", sources())
def test_imports_follow_the_table(path: str) -> None:
    assert broken_rules(path, source_of(path)) == []


def test_the_table_has_every_room_and_no_arrow_that_nobody_needs() -> None:
    assert set(ARROWS) == {room_of(path) for path in sources()}
    needed: dict[str, set[str]] = {room: set() for room in ARROWS}
    for path in sources():
        for file in files_imported(source_of(path)):
            needed[room_of(path)].add(room_of(file))
    unused = {room: set(names.split()) - needed[room] for room, names in ARROWS.items()}
    assert {room: names for room, names in unused.items() if names} == {}


def test_no_circle_of_rooms_and_none_of_files() -> None:
    assert circle({room: set(names.split()) for room, names in ARROWS.items()}) == []
    assert circle(arrows_between_files()) == []


def test_a_planted_circle_is_found() -> None:
    arrows = {room: set(names.split()) for room, names in ARROWS.items()}
    arrows["tokenizers/kernels"].add("tokenizers")
    assert circle(arrows) == ["tokenizers", "tokenizers/formats", "tokenizers/kernels", "tokenizers"]
    files = arrows_between_files()
    files["tokenizers/kernels/trie.py"].add("tokenizers/wordpiece.py")
    assert set(circle(files)) >= {"tokenizers/kernels/trie.py", "tokenizers/wordpiece.py"}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tokenizers/x.py", "from clozekit.pipelines.reading import read_documents"),
        ("tokenizers/x.py", "import keras"),
        ("tokenizers/kernels/x.py", "from clozekit.tokenizers.wordpiece import WordPieceTokenizer"),
        ("tokenizers/common/x.py", "from clozekit.tokenizers.storage.file_systems import read_text"),
        ("pipelines/x.py", "from clozekit.model.families.bert import BertBackbone"),
        ("pipelines/dataset/manifest.py", "def f():\n    import apache_beam as beam"),
        ("pipelines/cleaning/x.py", "from clozekit.pipelines.rows.pack import pack"),
        ("model/tasks/x.py", "from clozekit.model.families.bert import BertBackbone"),
        ("model/tasks/x.py", "def f():\n    from clozekit.model.presets.load_presets import load_task"),
        ("model/reading/x.py", "from clozekit.pipelines.reading.read_documents import ReadFiles"),
        ("model/training/x.py", "import apache_beam"),
        ("model/training/settings/x.py", "import tensorflow as tf"),
        ("model/tasks/x.py", "import clozekit.deploy.cli.main"),
        ("deploy/submit/x.py", "from clozekit.deploy.cli.parser import parse"),
    ],
)
def test_a_forbidden_import_is_caught(path: str, source: str) -> None:
    assert len(broken_rules(path, source)) == 1


def test_the_seam_is_allowed() -> None:
    assert broken_rules("model/reading/x.py", "from clozekit.pipelines.dataset.manifest import Manifest") == []


def test_the_seam_loads_no_beam() -> None:
    seam = [path for path in sources() if room_of(path) in ("pipelines/dataset", "pipelines/text_files")]
    modules = [path.removesuffix(".py").replace("/", ".") for path in seam if not path.endswith("__init__.py")]
    script = "\n".join(
        [*(f"import clozekit.{name}" for name in modules), "import sys; print('apache_beam' in sys.modules)"]
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.split()[-1] == "False"


@pytest.mark.parametrize("path", sources())
def test_every_file_begins_with_what_it_is(path: str) -> None:
    docstring, _ = docstring_and_imports(source_of(path))
    assert docstring is not None
    first_line = docstring.splitlines()[0]
    assert len(first_line) <= 120
    assert first_line.endswith((".", ":"))


def test_the_names_of_files_are_unique_and_none_is_that_of_a_standard_module() -> None:
    names = [Path(path).stem for path in sources() if not path.endswith(("__init__.py", "__main__.py", "main.py"))]
    assert [name for name in sorted(set(names)) if names.count(name) > 1] == []
    assert set(names) & set(sys.stdlib_module_names) == set()


def test_the_tests_mirror_the_rooms() -> None:
    """A folder of tests is one of ours, or one of tests alone."""
    alone = {"benchmarks", "docs", "end_to_end", "engines", "fuzz", "helpers", "parity"}
    folders = {path.parent.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("*.py")} - {"."}
    assert {folder for folder in folders if folder not in alone and not (ROOT / folder).is_dir()} == set()


def test_hugging_face_tokenizers_is_not_shadowed() -> None:
    assert not (ROOT / "tokenizers" / "__init__.py").exists()
    import tokenizers

    assert "site-packages" in str(tokenizers.__file__)
