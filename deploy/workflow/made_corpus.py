"""The content of what a `prepare` step read, noted beside its dataset: the lineage of what is trained on it says it."""

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from clozekit.deploy.workflow.input_content import sha256_of_dataset
from clozekit.deploy.workflow.plan_steps import PlannedStep
from clozekit.deploy.workflow.step_inputs import find_values
from clozekit.pipelines.dataset.corpus_content import content_sha256, write_corpus_content
from clozekit.tokenizers.storage.file_systems import open_file_system

_READ = ("read.inputs", "sources.*.inputs")
# Of a file in a folder its name stands before it.
_OF_A_FILE = re.compile(r"(?:.* )?([0-9a-f]{64})")


def note_corpus(planned: PlannedStep) -> None:
    """Writes it into the folder of a step that is done, where its dataset is there and all that it read is known by its content; a
    store says of a file its size and a mark, and that is not enough."""
    if planned.step.verb != "prepare" or planned.place is None:
        return
    if posixpath.dirname(planned.place.rstrip("/")) != planned.folder.rstrip("/"):
        return
    files = _hashes_of_files(planned.step.block, planned.facts["inputs"])
    datasets = [sha256 for folder in _folders(planned.place) if (sha256 := sha256_of_dataset(folder)) is not None]
    if files and datasets:
        write_corpus_content(planned.folder, datasets, content_sha256(files))


def _hashes_of_files(block: Mapping[str, Any], inputs: Mapping[str, list[str]]) -> list[str]:
    """The sha256 of every file that is read; none where one of them is not known."""
    found = [_OF_A_FILE.fullmatch(mark) for key, _ in find_values(block, _READ) for mark in inputs.get(key, [""])]
    return [] if None in found else [one[1] for one in found if one is not None]


def _folders(place: str) -> list[str]:
    """Of one dataset, or of those of several lengths."""
    filesystem, root = open_file_system(place)
    below = [name for name in filesystem.ls(root, detail=False) if filesystem.isdir(name)]
    return [place, *(posixpath.join(place, str(name).rstrip("/").rpartition("/")[2]) for name in below)]
