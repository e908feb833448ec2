"""`python crash_commits.py FOLDER FIRST STEP [shrink]`: a stream whose committer is killed (-9) around its durable operations.

shrink: not while documents are committed, but while their windows are compacted into one fragment, pruned and followed by another.

Forks a child for each moment from a process that has done all of it once, so that no child loads kernels again. After each
kill everything is delivered again, in other panes, by a child that is left alone. Prints a line of JSON for each moment, before and after an operation;
FIRST: number of the first operation; STEP: every how manieth is tried.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

import pyarrow as pa
from streams import begin, document, pane, total_counts

from clozekit.pipelines.dataset.chain import head_number, read_chain
from clozekit.pipelines.dataset.chain_coverage import standing
from clozekit.pipelines.settings.compact_settings import PruneSettings
from clozekit.pipelines.streaming.commit_pane import Committer, freeze
from clozekit.pipelines.streaming.compact_windows import compact_windows
from clozekit.pipelines.streaming.open_stream import open_stream
from clozekit.pipelines.streaming.prune_windows import prune_windows
from clozekit.pipelines.streaming.remove_garbage import remove_garbage
from clozekit.pipelines.streaming.verify_stream import verify_stream
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer
from clozekit.tokenizers.tokenizer import Tokenizer

OPERATIONS = ("mkdir", "fsync", "replace", "link", "unlink", "remove")
NUM_DOCUMENTS = 45
# What they make in panes of twenty.
NUM_WINDOWS = 3


def killing(function: Callable[..., Any], left: list[int], after: bool) -> Callable[..., Any]:
    def counted(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return function(*arguments, **named)
        finally:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return counted


def deliver(directory: str, tokenizer: Tokenizer, size: int) -> None:
    """All documents, in panes of `size`; what was frozen before is committed first."""
    stream = begin(directory, tokenizer)
    committer = Committer(stream)
    list(committer.commit_waiting())
    documents = [document(number) for number in range(NUM_DOCUMENTS)]
    # One text under two ids.
    documents.append(document(900, documents[3].record.text))  # type: ignore[union-attr]
    for number, start in enumerate(range(0, len(documents), size)):
        file = freeze(stream, pane(tokenizer, documents[start : start + size], window=number))
        committer.commit(file.name)


def shrink(directory: str, tokenizer: Tokenizer) -> None:
    """The windows that are there become one fragment; another follows; then their files go."""
    if head_number(directory) < NUM_WINDOWS:
        compact_windows(directory)
    stream = begin(directory, tokenizer)
    late = [document(number) for number in range(NUM_DOCUMENTS, NUM_DOCUMENTS + 5)]
    Committer(stream).commit(freeze(stream, pane(tokenizer, late, window=NUM_WINDOWS)).name)
    prune_windows(directory, PruneSettings(retain_days=0))
    prune_windows(directory, PruneSettings(retain_days=0, panes=True))


def in_child(work: Callable[[], object]) -> int:
    """The exit status of a forked child, negative for a signal."""
    child = os.fork()
    if not child:
        try:
            # A pool of threads does not survive a fork; each child makes its own.
            pa.set_cpu_count(1)
            work()
            os._exit(0)
        except BaseException as error:
            print(json.dumps({"error": repr(error)[:300]}), flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed(directory: str, tokenizer: Tokenizer, moment: int, after: bool, shrinks: bool) -> None:
    if shrinks:
        deliver(directory, tokenizer, 20)
    left = [moment]
    for name in OPERATIONS:
        setattr(os, name, killing(getattr(os, name), left, after))
    (shrink(directory, tokenizer) if shrinks else deliver(directory, tokenizer, 20))


def again(directory: str, tokenizer: Tokenizer, moment: int, after: bool, shrinks: bool) -> None:
    (shrink(directory, tokenizer) if shrinks else deliver(directory, tokenizer, 16))
    stream = open_stream(directory)
    removed = remove_garbage(stream)
    verified = verify_stream(directory)
    left = [str(path) for path in Path(directory).rglob("*.clozekit-tmp")]
    counts = total_counts(directory)
    found = {
        "moment": moment,
        "after": after,
        "documents": verified.num_documents,
        "kept": counts["documents_train"] + counts["documents_validation"],
        "duplicates": counts["duplicates_exact"],
        "problems": [str(problem) for problem in verified.problems],
        "waiting": verified.num_waiting,
        "left": left,
        "removed": len(removed),
        "standing": [fragment.number for fragment in standing(list(read_chain(directory)))],
        "files": len([path for path in Path(directory).rglob("*.*") if path.parent.name in ("data", "frozen", "side")]),
    }
    print(json.dumps(found), flush=True)


def main() -> None:
    folder, moment, step = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    tokenizer, shrinks = load_tokenizer(str(folder / "tokenizer")), sys.argv[4:] == ["shrink"]
    whole = str(folder / "whole")
    deliver(whole, tokenizer, 20)
    if shrinks:
        shrink(whole, tokenizer)
    verify_stream(whole)
    is_over = False
    while not is_over:
        for after in (False, True):
            directory = str(folder / f"{moment}-{after}")
            status = in_child(partial(killed, directory, tokenizer, moment, after, shrinks))
            is_over = status == 0
            if not is_over and status != -signal.SIGKILL:
                print(json.dumps({"error": f"status {status} at {moment}"}), flush=True)
            in_child(partial(again, directory, tokenizer, moment, after, shrinks))
        moment += step


if __name__ == "__main__":
    main()
