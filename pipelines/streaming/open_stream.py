"""Opening a stream: its genesis written once, checked ever after; what it has committed, read as it grows."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clozekit.pipelines.dataset.chain import (
    DATA_FOLDER,
    FROZEN_FOLDER,
    KNOWN_FOLDER,
    SIDE_FOLDER,
    STREAM_FILE,
    WINDOWS_FOLDER,
    Fragment,
    Genesis,
    fragments_after,
    has_stream,
    read_genesis,
)
from clozekit.pipelines.dataset.chain_coverage import check_coverage, kept_files, known_files
from clozekit.pipelines.dataset.tokenizer_files import TOKENIZER_FOLDER, tokenizer_contents
from clozekit.pipelines.prepare import check_pairs, describe_corpus, describe_tokenizer
from clozekit.pipelines.settings.corpus_settings import CorpusSettings
from clozekit.pipelines.settings.prepare_settings import PrepareSettings
from clozekit.pipelines.settings.stream_settings import WindowSettings
from clozekit.pipelines.storage.files import is_local, join
from clozekit.pipelines.streaming.durable_files import check_store, make_folder, make_once, write_durably
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import open_file_system
from clozekit.tokenizers.storage.owned_files import check_own_folder
from clozekit.tokenizers.tokenizer import Tokenizer

FOLDERS = (FROZEN_FOLDER, DATA_FOLDER, KNOWN_FOLDER, SIDE_FOLDER, WINDOWS_FOLDER, TOKENIZER_FOLDER)


class Stream:
    """A stream in a directory, and what is known here of its chain.

    options: how its documents become rows. head: the last fragment that was read, None before the first. named: the files that
    the fragments name, frozen panes among them, but for known hashes.
    """

    def __init__(self, directory: str, genesis: Genesis) -> None:
        self.directory = directory
        self.genesis = genesis
        self.options = prepare_settings_of(genesis)
        self.head: Fragment | None = None
        self.named: set[str] = set()
        self._needs_all = False

    def read_on(self) -> list[Fragment]:
        """Reads the fragments behind `head`, and gives them. Raises InputError for one that is damaged or does not follow."""
        found = []
        for fragment in fragments_after(self.directory, self.genesis, self.head):
            self.add(fragment)
            found.append(fragment)
        return found

    def add(self, fragment: Fragment) -> None:
        """What is known to be the next fragment of the chain."""
        self.head = fragment
        self.named |= {file.name for file in fragment.files()} - _known_names(fragment)
        self.named |= {shard.name for shard in fragment.shards()}
        self._needs_all |= fragment.frozen is None

    def needed(self) -> set[str]:
        """The files that are kept: of known hashes only those of the last fragment are read again, and of a stream whose
        windows were compacted not all that was named is."""
        if self._needs_all:
            return kept_files(self.whole_chain())
        return self.named | (set() if self.head is None else _known_names(self.head))

    def whole_chain(self) -> list[Fragment]:
        """The fragments up to `head`, which are not kept in memory otherwise. Raises InputError for a damaged one."""
        until = -1 if self.head is None else self.head.number
        fragments = list(fragments_after(self.directory, self.genesis, None, until))
        check_coverage(fragments)
        return fragments

    @contextmanager
    def writing(self, alone: bool = False, waits: bool = False) -> Iterator[bool]:
        """Keeps files that nobody names yet from being removed meanwhile, on a local disk, by a lock that any number of
        writers share; alone: the lock of who removes them. Gives whether the lock was to be had, at once unless it waits."""
        filesystem, path = open_file_system(join(self.directory, STREAM_FILE))
        if not is_local(filesystem):
            yield not alone
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            kind = fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB) if alone else fcntl.LOCK_SH
            try:
                fcntl.flock(descriptor, kind)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)


def _known_names(fragment: Fragment) -> set[str]:
    return {file.name for file in known_files(fragment)}


def prepare_settings_of(genesis: Genesis) -> PrepareSettings:
    """How the documents of a stream become rows."""
    fields: dict[str, Any] = dict(genesis.settings["prepare"])
    try:
        return PrepareSettings(**{**fields, "shorter_lengths": tuple(fields.get("shorter_lengths", ()))})
    except TypeError as error:
        raise InputError(
            f"{STREAM_FILE} must hold the settings of rows that this Clozekit knows, it does not ({error}); read the stream"
            " with the Clozekit that wrote it"
        ) from error


def open_stream(directory: str) -> Stream:
    """The stream in a directory, its chain read to the end. Raises InputError when there is none, or it is damaged."""
    stream = Stream(directory, read_genesis(directory))
    stream.read_on()
    return stream


def describe_stream(
    windows: WindowSettings, corpus: CorpusSettings, options: PrepareSettings, tokenizer: Tokenizer
) -> Genesis:
    """The genesis of a stream: everything that decides its bytes."""
    described = describe_tokenizer(tokenizer)
    check_pairs(options, described)
    return Genesis(
        window_seconds=windows.window_seconds,
        lateness_seconds=windows.lateness_seconds,
        time_to_live_seconds=windows.time_to_live_seconds,
        sequence_length=options.sequence_length,
        settings={"corpus": describe_corpus(corpus), "prepare": options.to_dict()},
        tokenizer=described,
    )


def begin_stream(
    directory: str, windows: WindowSettings, corpus: CorpusSettings, options: PrepareSettings, tokenizer: Tokenizer
) -> Stream:
    """The stream in `directory`, begun when there is none.

    Raises InputError for a stream of other settings, a folder with files that are not a stream's, and a store where two
    writers are not told apart.
    """
    genesis = describe_stream(windows, corpus, options, tokenizer)
    check_store(directory)
    if not has_stream(directory):
        check_own_folder("a stream", directory, _is_beginning, "pass another output")
        for folder in FOLDERS:
            make_folder(join(directory, folder))
        for name, content in tokenizer_contents(tokenizer).items():
            make_folder(join(directory, TOKENIZER_FOLDER, name).rpartition("/")[0])
            write_durably(directory, f"{TOKENIZER_FOLDER}/{name}", content)
        # Last: with it the directory is a stream.
        make_once(directory, STREAM_FILE, genesis.to_json())
    found = read_genesis(directory)
    if found != genesis and found.sha256 != genesis.sha256:
        raise InputError(
            f"a stream keeps its settings, that in {directory} was begun with others ({_difference(found, genesis)}); pass"
            " those, or another output"
        )
    return open_stream(directory)


def _is_beginning(name: str) -> bool:
    """Whether a file may stand in a folder without a genesis: what a killed beginning left."""
    return name.startswith(f"{TOKENIZER_FOLDER}/")


def _difference(found: Genesis, wanted: Genesis) -> str:
    """The first few settings in which two differ, with both values."""
    differing = [
        f"{name}: {old!r:.40} there, {new!r:.40} now"
        for (name, old), (_, new) in zip(_flat(found), _flat(wanted), strict=False)
        if old != new
    ]
    return "; ".join(differing[:3]) or "other keys"


def _flat(genesis: Genesis) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = [
        (name, getattr(genesis, name)) for name in ("window_seconds", "lateness_seconds", "time_to_live_seconds")
    ]
    for group, settings in sorted(genesis.settings.items()):
        for name, value in sorted(settings.items()):
            inner = sorted(value.items()) if isinstance(value, dict) else [("", value)]
            pairs += [(f"{group}.{name}{'.' if key else ''}{key}", one) for key, one in inner]
    return [*pairs, ("tokenizer", genesis.tokenizer.sha256[:12])]
