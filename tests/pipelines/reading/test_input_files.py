"""Inputs: which files are read, which are passed over and listed, which are refused by what they are."""

import bz2
import gzip
import json
import lzma
import os
import random
import socket
from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from clozekit.pipelines.reading.input_files import Skipped, find_inputs
from clozekit.pipelines.reading.read_documents import WorkItem, find_sources, read_item
from clozekit.pipelines.running.documents import Document
from clozekit.pipelines.settings.prepare_settings import ReadSettings, Source
from clozekit.pipelines.storage.files import InputFile
from clozekit.pipelines.text_files.file_states import check_unchanged, states_of
from clozekit.pipelines.text_files.open_input import open_input
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.owned_files import Owned, write_owned


def names(folder: Path, *patterns: str, skipped: Skipped | None = None) -> list[str]:
    files = find_inputs(patterns or (str(folder),), skipped=skipped)
    return [os.path.relpath(file.path, folder) for file in files]


def texts(path: Path, **options: object) -> list[str | None]:
    """The texts of a file's documents, None for a bad record."""
    item = WorkItem(0, InputFile(str(path), path.stat().st_size, ""), 0)
    reading = ReadSettings((str(path),), **options)  # type: ignore[arg-type]
    return [record.text if isinstance(record, Document) else None for _, record in read_item(item, reading)]


def write(path: Path, content: bytes | str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


LINE = b'{"text": "one", "id": 1}\n'


def _zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, "zstd", asbytes=True))


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress, ".GZ": gzip.compress, ".gzip": gzip.compress, ".bz2": bz2.compress, ".BZ2": bz2.compress,
    ".xz": lzma.compress, ".zst": _zstd, ".zstd": _zstd, ".Zst": _zstd,
}  # fmt: skip


@pytest.mark.parametrize("name", ["UPPER.JSONL", "x.NdJson", "X.CSV", "x.Tsv"])
@pytest.mark.parametrize("suffix", ["", *COMPRESSIONS])
def test_suffixes_mean_the_same_in_any_case(name: str, suffix: str, tmp_path: Path) -> None:
    content = (
        LINE if "json" in name.lower() else b"text,id\none,1\n" if "csv" in name.lower() else b"text\tid\none\t1\n"
    )
    path = write(tmp_path / (name + suffix), COMPRESSIONS.get(suffix, bytes)(content))
    assert texts(path) == ["one"]
    # A directory finds it too.
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_members_one_behind_the_other_are_read_and_a_damaged_one_is_named(suffix: str, tmp_path: Path) -> None:
    dice = random.Random(0)
    one, two = (COMPRESSIONS[suffix](dice.randbytes(4000).hex().encode() + b"\n") for _ in range(2))
    path = tmp_path / f"a.txt{suffix}"
    assert len(texts(write(path, one + two), document_kind="line")) == 2
    for broken in (one + two[:-9], one + b"BZ" + two[8:], one + two[: len(two) // 2], one + b"rubbish behind it", b""):
        with pytest.raises(
            InputError, match=rf"must be whole \w+, .*a\.txt\{suffix} is damaged or cut short"
        ) as caught:
            texts(write(path, broken), document_kind="line")
        assert "\n" not in str(caught.value)
    if suffix == ".xz":
        assert len(texts(write(path, one + bytes(8) + two + bytes(4)), document_kind="line")) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"x", mtime=0), "holds gzip; give it the suffix .gz"),
        (bz2.compress(b"x"), "holds bzip2; give it the suffix .bz2"),
        (lzma.compress(b"x"), "holds xz; give it the suffix .xz"),
        (_zstd(b"x"), "holds zstd; give it the suffix .zst"),
        ("text".encode("utf-16"), "begins with the mark of UTF-16; convert it, as with: iconv -f UTF-16 -t UTF-8"),
        (b"\xfe\xff\x00t", "begins with the mark of UTF-16"),
        ("text".encode("utf-32"), "begins with the mark of UTF-32"),
        (b"PK\x03\x04\x14\x00", "is a ZIP archive"),
        (b"%PDF-1.7\n%", "is a PDF"),
        (b"PAR1\x15\x04", "is a Parquet file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Office document"),
        (b"name.txt".ljust(257, b"\0") + b"ustar\x0000", "is a tar archive"),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "A.TSV", "no_suffix"])
def test_what_a_file_is_goes_before_what_it_is_called(content: bytes, message: str, name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(InputError, match=f"{name} {message}"):
        find_sources(ReadSettings((str(path),)))
    with pytest.raises(InputError, match=f"{name} {message}"):
        texts(path)
    packed = write(tmp_path / f"{name}.gz", gzip.compress(content))
    with pytest.raises(InputError, match=f"{name}.gz {message}"):
        texts(packed)


@pytest.mark.parametrize("content", [b"BZhang wrote this", b"PAR1 is a protein", b"PK is his name", b"\x1f\x8b", b"{"])
def test_text_that_begins_like_something_else_is_text(content: bytes, tmp_path: Path) -> None:
    assert texts(write(tmp_path / "a.txt", content)) == [content.decode("utf-8") if content != b"\x1f\x8b" else None]


def test_a_compressed_file_of_another_kind_is_named_before_work_begins(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt.gz", _zstd(b"x"))
    with pytest.raises(
        InputError, match=r"a gzip input must be whole gzip, .*a.txt.gz is zstd; give it the right suffix"
    ):
        find_sources(ReadSettings((str(path),)))


def test_a_bomb_is_a_bad_record_within_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    with gzip.open(path, "wb", 1) as stream:
        for _ in range(64):
            stream.write(bytes(1 << 20))
        stream.write(b"\nlast")
    for kind, expected in (("file", [None]), ("line", [None, "last"]), ("block", [None])):
        assert texts(path, document_kind=kind, max_document_mb=1) == expected


def test_what_a_directory_holds_beside_text_is_listed_and_counted(tmp_path: Path) -> None:
    write(tmp_path / "in/a.txt")
    write(tmp_path / "in/deep/DATA.CSV", "text\none\n")
    write(tmp_path / "in/image.png")
    os.mkfifo(tmp_path / "in/pipe.txt")
    with socket.socket(socket.AF_UNIX) as unix:
        # The path of a socket may have 107 bytes.
        here = os.getcwd()
        os.chdir(tmp_path / "in")
        try:
            unix.bind("s.txt")
        finally:
            os.chdir(here)
    os.symlink(tmp_path / "nowhere", tmp_path / "in/broken.txt")
    os.symlink("loop.txt", tmp_path / "in/loop.txt")
    os.symlink(tmp_path / "in", tmp_path / "in/deep/round")
    os.symlink(tmp_path / "in/a.txt", tmp_path / "in/again.txt")
    skipped = Skipped()
    assert names(tmp_path / "in", skipped=skipped) == ["a.txt", "deep/DATA.CSV"]
    assert skipped.number == 6
    reasons = {line.split("/in/")[1] for line in skipped.shown}
    assert reasons == {
        "broken.txt (a broken link)",
        "deep/round (a link to a folder: name it as an input of its own)",
        "image.png (none of the suffixes)",
        "loop.txt (a broken link)",
        "pipe.txt (a named pipe)",
    }
    assert skipped.line().startswith("not read, 6 in all: ") and skipped.line().endswith(", 1 more")
    globbed = Skipped()
    assert names(tmp_path / "in", f"{tmp_path}/in/*", skipped=globbed) == ["a.txt", "image.png"]
    assert {"deep (a folder)"} <= {line.split("/in/")[1] for line in globbed.shown}


@pytest.mark.parametrize(
    "name", ["a::b.txt", "a*.txt", "a?.txt", "a[1].txt", "a#b.txt", "a%20b.txt", "ä é.txt", "a'\".txt"]
)
def test_odd_names_are_files_like_others(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "in" / name, "one")
    assert names(tmp_path / "in") == names(tmp_path / "in", str(path)) == [name]
    assert texts(path) == ["one"]


@pytest.mark.parametrize("name", [b"a\xff.txt", b"a\nb.txt", b"a\x1b[31m.txt"])
def test_a_name_that_no_line_can_show_is_refused_in_one(name: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with open(os.path.join(os.fsencode(folder), name), "wb") as stream:
        stream.write(b"x")
    with pytest.raises(InputError, match="the name of an input must be UTF-8 on one line, got .*; rename") as caught:
        find_inputs((str(folder),))
    assert str(caught.value).encode().isascii() and "\n" not in str(caught.value)


def test_one_file_under_several_names_is_read_once_and_belongs_to_one_source(tmp_path: Path) -> None:
    path = write(tmp_path / "in/a.txt", "one")
    os.symlink(path, tmp_path / "link.txt")
    patterns = (
        str(path),
        f"{tmp_path}/in/../in/a.txt",
        f"{tmp_path}/link.txt",
        f"{tmp_path}/in",
        f"{tmp_path}/*/a.txt",
    )
    assert len(find_inputs(patterns)) == 1
    sources = (Source("a", (str(path),)), Source("b", (f"{tmp_path}/link.txt",)))
    with pytest.raises(InputError, match="belongs to one source"):
        find_sources(ReadSettings(sources=sources))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "must name a file, a directory or a glob, got an empty name"),
        ("/dev/zero", "/dev/zero is a device"),
        ("/dev/null", "/dev/null is a device"),
        ("{}/pipe", "pipe is a named pipe; write it to a file"),
        ("{}/none.txt", "does not exist"),
        ("{}/broken", "does not exist"),
        ("{}/\0", "must"),
    ],
)
def test_what_is_no_file_is_refused_and_never_waited_for(pattern: str, message: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.symlink("nowhere", tmp_path / "broken")
    with pytest.raises(InputError, match=message) as caught:
        find_inputs((pattern.format(tmp_path),))
    assert "\n" not in str(caught.value)


def _dataset(folder: Path) -> None:
    """What a build of before there were lists of files left."""
    write(folder / "manifest.json", json.dumps({"dataset_sha256": "", "build_id": "", "splits": {}}))
    for name in ("data-card.md", "tokenizer/tokenizer.json", "tokenizer/assets/tokenizer/vocabulary.txt"):
        write(folder / name)
    write(folder / "rejects/part-00000-00000000.jsonl", LINE)


@pytest.mark.parametrize("where", ["out", ".", "deep/out"])
def test_outputs_in_an_input_directory_are_no_input(where: str, tmp_path: Path) -> None:
    top = tmp_path / "in"
    write(top / "mine.txt")
    write(top / "rejects/mine.jsonl", LINE)
    _dataset(top / where)
    write(top / where / "notes.txt")
    skipped = Skipped()
    mine = {"mine.txt", os.path.normpath(f"{where}/notes.txt")} | ({"rejects/mine.jsonl"} if where != "." else set())
    assert set(names(top, skipped=skipped)) == mine
    assert skipped.number == (5 if where != "." else 6)
    assert (skipped.num_ours, skipped.shown) == (skipped.number, [])
    globbed = names(top, f"{top}/**/*.*")
    assert set(globbed) == mine


def test_outputs_are_known_by_their_lists_of_files(tmp_path: Path) -> None:
    out = tmp_path / "in/out"
    write(out / "vocab.txt")
    write(out / "notes.txt")
    write(out / "rejects/part-00000-0123abcd.jsonl.gz")
    write(out / "b.txt.0123456789abcdef.clozekit-tmp.txt")
    write_owned(out, Owned("prepare", frozenset({"vocab.txt"}), frozenset({"0123abcd"})))
    skipped = Skipped()
    assert names(tmp_path / "in", skipped=skipped) == ["out/b.txt.0123456789abcdef.clozekit-tmp.txt", "out/notes.txt"]
    # What is named by itself is meant.
    assert names(tmp_path / "in", f"{out}/vocab.txt") == ["out/vocab.txt"]


def test_a_run_and_a_tokenizer_are_no_input_either(tmp_path: Path) -> None:
    write(tmp_path / "run/metrics.jsonl", LINE)
    write(tmp_path / "run/checkpoints/step-1/state.json", LINE)
    write(tmp_path / "tok/tokenizer.json")
    write(tmp_path / "tok/assets/tokenizer/vocabulary.txt")
    write(tmp_path / "a.txt")
    assert names(tmp_path) == ["a.txt"]
    # Somebody's folder that only has such names is somebody's.
    write(tmp_path / "theirs/metrics.jsonl", LINE)
    write(tmp_path / "theirs/tokenizer.json", LINE)
    write(tmp_path / "theirs/manifest.json", "{}")
    assert len(names(tmp_path)) == 4


def test_a_store_is_searched_like_a_folder() -> None:
    store = fsspec.filesystem("memory")
    store.store.clear()
    files = {"docs/a.txt": b"x", "docs/B.CSV": b"text\n", "docs/c.png": b"x", "docs/out/rejects/p.jsonl": LINE}
    files["docs/out/manifest.json"] = json.dumps({"dataset_sha256": "", "build_id": "", "splits": {}}).encode()
    for name, content in files.items():
        store.pipe_file(f"/{name}", content)
    try:
        skipped = Skipped()
        found = find_inputs(("memory://docs",), skipped=skipped)
        assert [file.path for file in found] == ["memory://docs/B.CSV", "memory://docs/a.txt"] or [
            file.path for file in found
        ] == ["memory:///docs/B.CSV", "memory:///docs/a.txt"]
        assert skipped.number == 3
        states = states_of([file.path for file in found])
        check_unchanged(states)
        store.pipe_file("/docs/a.txt", b"longer")
        with pytest.raises(InputError, match="a.txt had 1 bytes and has 6 since the run began"):
            check_unchanged(states)
    finally:
        store.store.clear()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_bytes(b"on"), "had 3 bytes and has 2"),
        (lambda path: path.write_bytes(b"one more"), "had 3 bytes and has 8"),
        (lambda path: path.unlink(), "is gone"),
        (lambda path: os.utime(path, ns=(1, 1)), "was written to"),
    ],
)
def test_a_file_that_is_not_what_it_was_is_named(
    change: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    path, other = write(tmp_path / "a.txt", "one"), write(tmp_path / "b.txt", "two")
    states = states_of([str(other), str(path)])
    check_unchanged(states)
    change(path)
    with pytest.raises(InputError, match=f"a.txt {message} since the run began; nothing was committed"):
        check_unchanged(states)


def test_a_file_in_the_place_of_another_is_found_by_its_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one")
    os.utime(path, ns=(5, 5))
    states = states_of([str(path)])
    other = write(tmp_path / "b.txt", "two")
    os.utime(other, ns=(5, 5))
    os.replace(other, path)
    with pytest.raises(InputError, match=r"a.txt was written to"):
        check_unchanged(states)
    # Permissions are no content.
    states = states_of([str(path)])
    path.chmod(0o600)
    check_unchanged(states)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", b"%s" + LINE + b"%s" + LINE, ["one", "one"]),
        ("a.txt", b"%sone\n%stwo\n", ["one", "two"]),
        ("a.csv", b"%stext\none\n%stext\ntwo\n", ["one", "two"]),
        ("a.tsv", b"%stext\tb\none\t1\n%stext\tb\ntwo\t2\n", ["one", "two"]),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_joined_files_may_each_begin_with_a_mark(
    name: str, content: bytes, expected: list[str], packed: bool, tmp_path: Path
) -> None:
    content = content.replace(b"%s", b"\xef\xbb\xbf")
    path = write(tmp_path / (name + ".gz" * packed), gzip.compress(content) if packed else content)
    assert texts(path, document_kind="line") == expected
    if name == "a.txt":
        assert texts(path) == ["one\ntwo\n"]
        assert texts(path, document_kind="block") == ["one\ntwo\n"]


def test_open_input_keeps_what_the_system_says(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), open_input(str(tmp_path / "none.gz")):
        pass
