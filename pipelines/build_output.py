"""The output of one build of `prepare`: what it claims before it runs, what it removes when it is done or has lost."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from clozekit.pipelines.dataset.build_report import REPORT_FILE
from clozekit.pipelines.dataset.data_card import DATA_CARD_FILE
from clozekit.pipelines.dataset.manifest import MANIFEST_FILE, has_manifest, read_manifest
from clozekit.pipelines.dataset.tokenizer_files import TOKENIZER_FOLDER, tokenizer_contents
from clozekit.pipelines.output_files import BLOCKS_FOLDER, check_output, claim, id_of, parts_of, release
from clozekit.pipelines.rows.commit import is_lost
from clozekit.pipelines.rows.make_dataset import Target
from clozekit.pipelines.running.block_store import BlockStore
from clozekit.pipelines.running.runners import LOCAL_RUNNER
from clozekit.pipelines.storage.files import file_size, is_local, join, try_writing
from clozekit.pipelines.storage.locks import scratch_folder
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import open_file_system
from clozekit.tokenizers.storage.owned_files import list_files, new_id, read_owned, remove_files
from clozekit.tokenizers.tokenizer import Tokenizer


def fixed_names(tokenizer: Tokenizer) -> frozenset[str]:
    """Paths of what a build writes besides shards and what has an id of the build in its name."""
    beside = (join(TOKENIZER_FOLDER, name) for name in tokenizer_contents(tokenizer))
    return frozenset([MANIFEST_FILE, REPORT_FILE, DATA_CARD_FILE, *beside])


def is_report_missing(directory: str) -> bool:
    """Whether a finished build of ours was killed before it wrote its report."""
    owned = read_owned(directory)
    files = {REPORT_FILE, DATA_CARD_FILE}
    return owned is not None and owned.names >= files and file_size(join(directory, REPORT_FILE)) is None


@dataclass(frozen=True)
class BuildOutput:
    """The folders that a build writes into. names: paths in the folder of a dataset that are known before; before:
    folder -> what earlier builds have left there."""

    side_directory: str
    side_id: str
    blocks_id: str
    targets: Sequence[Target]
    names: frozenset[str]
    before: Mapping[str, Sequence[str]]

    @classmethod
    def begin(
        cls,
        side_directory: str,
        side_id: str,
        targets: Sequence[Target],
        names: frozenset[str],
        only_shown: bool = False,
    ) -> "BuildOutput":
        """Notes what is going to be written. Raises InputError, before anything is, where a file that is not ours is in
        the way or the place can't be written.

        only_shown: nothing will be written, so nothing is noted.
        """
        folders = {side_directory: frozenset[str](), **{target.directory: names for target in targets}}
        before = {folder: check_output(folder, planned, side_directory) for folder, planned in folders.items()}
        output = cls(side_directory, side_id, new_id(), targets, names, before)
        for folder, planned in () if only_shown else folders.items():
            try_writing(folder)
            claim(folder, planned, output._ids(folder))
            # Asked to do it again, nothing of the finished build is trusted; and blocks of a killed one serve nobody.
            redone = {one.build.build_id[:16] for one in targets if one.directory == folder and _is_there(one)}
            remove_files(
                folder, [one for one in before[folder] if id_of(one) in redone or one.startswith(BLOCKS_FOLDER)]
            )
        return output

    def _ids(self, folder: str) -> set[str]:
        builds = {target.build.build_id[:16] for target in self.targets if target.directory == folder}
        return builds | ({self.side_id, self.blocks_id} if folder == self.side_directory else set())

    @contextmanager
    def blocks(self, runner: str) -> Iterator[BlockStore]:
        """Where blocks wait while a local run lasts: beside the output when that is a local folder."""
        if runner != LOCAL_RUNNER:
            yield BlockStore()
            return
        filesystem, path = open_file_system(self.side_directory)
        if not is_local(filesystem):
            with scratch_folder("blocks") as folder:
                yield BlockStore(folder)
            return
        name = f"{BLOCKS_FOLDER}-{self.blocks_id}"
        folder = join(path, name)
        try:
            yield BlockStore(folder)
        finally:
            blocks = [f"{name}/{block}" for block in (os.listdir(folder) if os.path.isdir(folder) else [])]
            remove_files(path, [block for block in blocks if id_of(block) == self.blocks_id])

    def end(self) -> None:
        """Removes what earlier builds left and the finished datasets do not hold, and the parts of this one; notes what
        is there now."""
        for folder, left in self.before.items():
            wanted, own = self._wanted(folder), self._ids(folder) - {self.side_id}
            # What came later with another id is of another build, of another machine, which sees to it itself.
            gone = {*left, *(name for name in list_files(folder) if id_of(name) in own)} - wanted
            # Part files tell whose the shards are, and go too: killed in between, the list itself must know them.
            claim(folder, {*wanted, *gone}, ())
            remove_files(folder, [name for name in gone if id_of(name) != self.side_id])
            old = {identifier for name in left if (identifier := id_of(name)) is not None}
            ids = {self.side_id} if folder == self.side_directory else set[str]()
            release(folder, wanted, ids, own | old)

    def _wanted(self, folder: str) -> set[str]:
        """Paths of what the finished dataset in `folder` consists of; none where there is only what was left out."""
        if folder not in {target.directory for target in self.targets}:
            return set()
        shards = (shard.name for split in read_manifest(folder).splits.values() for shard in split.shards)
        return {*self.names, *shards}

    @contextmanager
    def nothing_left_of_the_lost(self) -> Iterator[None]:
        """Where another build has finished the output first, removes what this one wrote there."""
        try:
            yield
        except InputError:
            lost = [one for one in self.targets if is_lost(one.directory, one.build.build_id, one.seen)]
            for target in lost:
                parts = parts_of(target.directory, target.build.build_id[:16])
                shards = {shard for shard in parts.values() if shard is not None} - self._wanted(target.directory)
                remove_files(target.directory, shards)
                # They say whose the shards are, and so go last.
                remove_files(target.directory, parts)
            if len(lost) == len(self.targets):
                there = list_files(self.side_directory)
                remove_files(self.side_directory, [name for name in there if id_of(name) == self.side_id])
            raise


def _is_there(target: Target) -> bool:
    directory = target.directory
    return has_manifest(directory) and read_manifest(directory).build_id == target.build.build_id
