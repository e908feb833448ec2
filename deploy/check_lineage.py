"""Whether a preset, and the folders that it came from, are what its lineage says, by their hashes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from clozekit.deploy.quiet_loading import load_tensorflow
from clozekit.model.common.array_hash import arrays_sha256
from clozekit.model.presets.checkpoint_lineage import run_sha256
from clozekit.model.presets.lineage import LINEAGE_FILE, Lineage
from clozekit.model.presets.lineage_file import changed_files, files_of
from clozekit.model.presets.named_lineage import Named, find_named
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.preset_upload import is_of_preset
from clozekit.tokenizers.storage.run_paths import CHECKPOINTS

_SHORT = 12
_NONE = "none"
_OF_WEIGHTS = (".h5", ".safetensors", ".onnx", ".onnx_data", ".tflite", ".pb", "weights.json", "index.json")
_OF_TOKENIZERS = (
    "tokenizer",
    "vocab",
    "merges",
    "spiece",
    "sentencepiece",
    "special_tokens",
    "added_tokens",
    "assets/",
)


@dataclass(frozen=True)
class Mismatch:
    """A link that is not what the lineage says: which, the sha256 (or what else) that was expected, and what was found."""

    link: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.link}: expected {_shown(self.expected)}, found {_shown(self.found)}"


@dataclass(frozen=True)
class CheckedLineage:
    """A lineage, what of it was compared here, what could not be, and what is otherwise."""

    lineage: Lineage
    checked: tuple[str, ...]
    not_checked: tuple[str, ...]
    problems: tuple[Mismatch, ...]


@dataclass
class _Findings:
    checked: list[str] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    problems: list[Mismatch] = field(default_factory=list)

    def compare(self, link: str, expected: Sequence[str], found: str) -> bool:
        self.checked.append(link)
        if found in expected:
            return True
        self.problems.append(Mismatch(link, " or ".join(dict.fromkeys(expected)) or _NONE, found))
        return False


def check_lineage(preset: str, runs: Sequence[str] = (), datasets: Sequence[str] = ()) -> CheckedLineage:
    """Reads the lineage of a preset and compares what is here with it.

    Args:
        preset: a name, handle, URL, directory in any layout, or path into a run.
        runs: directories that should be runs of its chain.
        datasets: directories that should be datasets or streams of its chain.

    Returns:
        What was compared and what is otherwise: one problem for each link.

    Raises:
        InputError: for a preset that can't be had or has no lineage, or one that was changed; for folders that hold no run or
            dataset.

    Example:

        >>> from clozekit.deploy.check_lineage import check_lineage
        >>> from clozekit.deploy.convert import convert
        >>> _ = convert("tiny/preset", "tiny/converted", "clozekit")
        >>> checked = check_lineage("tiny/converted")
        >>> [one.link["made_by"] for one in checked.lineage.of("preset")[:1]], checked.problems
        (['convert'], ())
    """
    named = find_named(preset)
    if named.saved is not None or runs:
        # Checkpoints are TensorFlow's; all else needs none of it.
        load_tensorflow()
    lineage = named.lineage()
    if lineage is None:
        raise InputError(
            f"a preset says in {LINEAGE_FILE} what it came from, {preset} has none: another program or an earlier version wrote"
            " it; `clozekit convert` makes one that names it by its hashes"
        )
    findings = _Findings()
    if named.saved is not None:
        _check_run_of(lineage, named.saved.state["run"], f"run of {preset}", findings)
    else:
        _check_files(named, lineage, findings)
    for directory in runs:
        _check_run(lineage, directory.rstrip("/"), findings)
    for directory in datasets:
        _check_dataset(lineage, directory.rstrip("/"), findings)
    return CheckedLineage(
        lineage, tuple(findings.checked), tuple(findings.not_checked), tuple(dict.fromkeys(findings.problems))
    )


def _check_files(named: Named, lineage: Lineage, findings: _Findings) -> None:
    """The files of the preset, and none beside them that a loader would take."""
    if lineage.link["what"] != "preset":
        return
    written = files_of(lineage)
    for name, expected, found in changed_files(named.files, lineage):
        findings.problems.append(Mismatch(_link_of(name), expected, _NONE if found is None else found))
    for name in named.files.names() or ():
        if name not in written and name != LINEAGE_FILE and is_of_preset(name):
            findings.problems.append(Mismatch(_link_of(name), _NONE, "a file"))
    findings.checked.append(f"{len(written):,} files of the preset")


def _link_of(name: str) -> str:
    if name.endswith(_OF_WEIGHTS) or name.startswith("variables/"):
        return f"weights {name}"
    return f"{'tokenizer' if name.startswith(_OF_TOKENIZERS) else 'description'} {name}"


def _check_run_of(lineage: Lineage, identity: object, link: str, findings: _Findings) -> list[Lineage]:
    """The runs of the chain that a checkpoint is of; identity: what its state says of its run."""
    found = run_sha256(identity) if isinstance(identity, dict) else _NONE
    named = lineage.of("run")
    findings.compare(link, [str(one.link.get("sha256")) for one in named], found)
    return [one for one in named if one.link.get("sha256") == found]


def _check_run(lineage: Lineage, directory: str, findings: _Findings) -> None:
    from clozekit.model.training.run_directory.checkpoints import (
        DamagedCheckpointError,
        found_checkpoints,
        read_model,
    )

    saved = {one.step: one for one in found_checkpoints(f"{directory}/{CHECKPOINTS}")}
    if not saved:
        raise InputError(
            f"--run must be a run with a checkpoint, {directory} has none; name the `directory` of the run"
        )
    newest = saved[max(saved)]
    runs = _check_run_of(lineage, newest.state["run"], f"run {directory}", findings)
    for one in lineage.of("checkpoint"):
        if not any(run.sha256 in [named.sha256 for named in one.before("run")] for run in runs):
            continue
        step = one.link.get("step")
        link = f"checkpoint of step {step} in {directory}"
        if not isinstance(step, int) or step not in saved:
            findings.not_checked.append(f"{link}: it is no longer kept there")
            continue
        try:
            found = arrays_sha256(read_model(saved[step]))
        except DamagedCheckpointError:
            found = "a damaged one"
        findings.compare(link, [str(one.link.get("weights_sha256"))], found)


def _check_dataset(lineage: Lineage, directory: str, findings: _Findings) -> None:
    # Numba comes with the datasets.
    from clozekit.pipelines.dataset.chain import has_stream
    from clozekit.pipelines.dataset.manifest import read_manifest

    if has_stream(directory):
        return _check_stream(lineage, directory, findings)
    found = read_manifest(directory).dataset_sha256
    expected = [str(one.link.get("dataset_sha256")) for one in lineage.of("dataset")]
    findings.compare(f"dataset {directory}", expected, found)
    return None


def _check_stream(lineage: Lineage, directory: str, findings: _Findings) -> None:
    """Every fragment names the one before by its hash, so the last one that was read stands for all."""
    from clozekit.pipelines.dataset.chain import read_chain, read_genesis

    expected = [str(one.link.get("genesis_sha256")) for one in lineage.of("stream")]
    if not findings.compare(f"stream {directory}", expected, read_genesis(directory).sha256):
        return
    heads = dict(_heads(lineage))
    found = {fragment.number: fragment.sha256 for fragment in read_chain(directory) if fragment.number in heads}
    for number, sha256 in sorted(heads.items()):
        findings.compare(f"fragment {number} of {directory}", [sha256], found.get(number, _NONE))


def _heads(lineage: Lineage) -> Iterator[tuple[int, str]]:
    for one in lineage.of("checkpoint"):
        heads = one.link.get("heads", [])
        for head in heads if isinstance(heads, list) else []:
            if isinstance(head, dict) and isinstance(head.get("number"), int) and isinstance(head.get("sha256"), str):
                yield head["number"], head["sha256"]


def _shown(value: str) -> str:
    """Hashes in short."""
    words = value.split(" ")
    return " ".join(word[:_SHORT] if len(word) == 64 else word for word in words)
