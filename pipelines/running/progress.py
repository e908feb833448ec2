"""Progress of a local run: workers note how far they are in small files, the command draws one bar from them."""

import os
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from clozekit.pipelines.storage.files import InputFile
from clozekit.pipelines.storage.locks import scratch_folder
from clozekit.pipelines.text_files.open_input import is_compressed
from clozekit.tokenizers.common.progress_bar import progress_bar
from clozekit.tokenizers.storage.file_systems import path_named


@dataclass(frozen=True)
class Progress:
    """Where the workers of one local run note their progress; files serve in-process and other-process workers alike."""

    directory: str


class ProgressReporter:
    """Notes how much of `stage` this worker did; does nothing when `progress` is None."""

    def __init__(self, progress: Progress | None, stage: str) -> None:
        self._path = None
        self._amount = 0
        if progress is not None:
            self._path = os.path.join(progress.directory, f"{stage}.{os.getpid()}.{uuid.uuid4().hex[:8]}")

    def add(self, amount: int) -> None:
        self._amount += amount
        if self._path is not None:
            with path_named(self._path), open(self._path, "w", encoding="ascii") as stream:
                stream.write(str(self._amount))


def read_progress(directory: str) -> dict[str, int]:
    """Stage -> amount done by all workers."""
    done: dict[str, int] = {}
    for path in Path(directory).iterdir():
        stage, is_count, _ = path.name.partition(".")
        text = path.read_text(encoding="ascii") if is_count else ""
        # A worker may be between opening and writing; its amount shows at the next look.
        if text.isdigit():
            done[stage] = done.get(stage, 0) + int(text)
    return done


@contextmanager
def local_progress(show: bool, inputs: Sequence[InputFile], stages: dict[str, str]) -> Iterator[Progress | None]:
    """Draws the progress of a local run over `inputs` while the block runs, and gives what its workers note it in."""
    if not show:
        yield None
        return
    # How much text a compressed file holds is not known before it was read.
    is_plain = not any(is_compressed(file.path) for file in inputs)
    with scratch_folder("progress") as directory:
        total_bytes = sum(file.num_bytes for file in inputs) if is_plain else None
        with draw_progress(directory, stages, total_bytes):
            yield Progress(directory)


@contextmanager
def draw_progress(
    directory: str, stages: dict[str, str], total_bytes: int | None, every_seconds: float = 0.5
) -> Iterator[None]:
    """Draws a bar of the first stage and the counts of the others until the block ends.

    stages: stage -> its unit ("B", "rows", ...), in the order of the pipeline; total_bytes: what the first one ends at.
    """
    finished = threading.Event()
    first, *others = stages
    bar = progress_bar(total=total_bytes, unit="B", unit_scale=True, desc=first, mininterval=0, smoothing=0.1)

    def look() -> None:
        done = read_progress(directory)
        bar.n = done.get(first, 0) if total_bytes is None else min(done.get(first, 0), total_bytes)
        later = [f"{stage} {tqdm.format_sizeof(done[stage])}{stages[stage]}" for stage in others if stage in done]
        bar.set_postfix_str(", ".join(later), refresh=False)
        bar.refresh()

    def watch() -> None:
        while not finished.wait(every_seconds):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
        look()
        bar.close()
