"""The output of `vocab`: a folder with a tokenizer, and the counts of words while they are made."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from clozekit.pipelines.count_words import is_count
from clozekit.pipelines.dataset.tokenizer_files import tokenizer_contents
from clozekit.pipelines.storage.files import file_size, join, list_names, try_writing
from clozekit.pipelines.storage.locks import LOCK_FILE
from clozekit.tokenizers.storage.file_systems import write_bytes_whole
from clozekit.tokenizers.storage.owned_files import (
    OWNED_FILE,
    Owned,
    check_own_folder,
    is_temporary,
    new_id,
    read_owned,
    remove_files,
    write_owned,
)
from clozekit.tokenizers.tokenizer import TOKENIZER_FILE, Tokenizer

MADE_BY = "vocab"
_WORDS_FOLDER = "_words"


def has_tokenizer(directory: str) -> bool:
    return file_size(join(directory, TOKENIZER_FILE)) is not None


@dataclass(frozen=True)
class VocabularyOutput:
    """A folder that is ours; words_folder: where the counts go. names: what an earlier run has left; words_id: stands in
    the name of the folder of counts."""

    directory: str
    names: frozenset[str]
    words_id: str

    @property
    def words_folder(self) -> str:
        return join(self.directory, f"{_WORDS_FOLDER}-{self.words_id}")

    def write(self, tokenizer: Tokenizer) -> None:
        """Puts a tokenizer in the place of the one that was there, file by file, the one that makes a tokenizer of them
        last."""
        contents = tokenizer_contents(tokenizer)
        write_owned(self.directory, Owned(MADE_BY, self.names | set(contents), frozenset([self.words_id])))
        for name in sorted(contents, key=lambda name: name == TOKENIZER_FILE):
            write_bytes_whole(join(self.directory, name), contents[name])
        remove_files(self.directory, sorted(self.names - set(contents)))
        write_owned(self.directory, Owned(MADE_BY, frozenset(contents)))


def check_vocabulary_output(directory: str) -> tuple[frozenset[str], list[str]]:
    """(the names of the tokenizer in `directory`, all that is there). Raises InputError where it holds a file that `vocab`
    did not write."""
    owned = read_owned(directory) or Owned(MADE_BY)
    names = owned.names if owned.made_by == MADE_BY else frozenset[str]()

    def is_ours(name: str) -> bool:
        folder, _, inner = name.rpartition("/")
        is_words = folder.removeprefix(f"{_WORDS_FOLDER}-") in owned.ids and is_count(inner)
        return name in names or is_words or is_temporary(name) or name == LOCK_FILE

    return names, check_own_folder("a tokenizer", directory, is_ours, "pass another --output")


@contextmanager
def vocabulary_output(directory: str) -> Iterator[VocabularyOutput]:
    """The folder while a vocabulary is learned. Raises InputError, before anything is written, where it holds a file that
    `vocab` did not write, or can't be written."""
    names, there = check_vocabulary_output(directory)
    try_writing(directory)
    output = VocabularyOutput(directory, names, new_id())
    write_owned(directory, Owned(MADE_BY, names, frozenset([output.words_id])))
    remove_files(directory, [name for name in there if name not in names and name not in (LOCK_FILE, OWNED_FILE)])
    try:
        yield output
    finally:
        inside = f"{_WORDS_FOLDER}-{output.words_id}"
        remove_files(directory, [f"{inside}/{name}" for name in list_names(output.words_folder) if is_count(name)])
        if read_owned(directory) == Owned(MADE_BY, ids=frozenset([output.words_id])):
            # Nothing was learned: no list of nothing is left.
            remove_files(directory, [OWNED_FILE])
