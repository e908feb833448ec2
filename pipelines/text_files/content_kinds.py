"""What a file is by its first bytes, whatever it is called: compressed, a document of another program, UTF-16 or UTF-32."""

from clozekit.tokenizers.common.errors import InputError

# A tar says what it is behind 257 bytes.
HEAD_BYTES = 512
_ENCODINGS = (
    # UTF-32 first: its mark begins with that of UTF-16.
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_COMPRESSED = (
    (b"\x1f\x8b\x08", "gzip", ".gz"),
    (b"BZh", "bzip2", ".bz2"),
    (b"\xfd7zXZ\x00", "xz", ".xz"),
    (b"\x28\xb5\x2f\xfd", "zstd", ".zst"),
)
_OTHERS = (
    (b"PK\x03\x04", "a ZIP archive (or an Office, EPUB or OpenDocument file)"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x1f\x9d", "a file of compress (.Z)"),
    (b"\x04\x22\x4d\x18", "an LZ4 file"),
    (b"\xff\x06\x00\x00sNaPpY", "a Snappy file"),
    (b"%PDF-", "a PDF"),
    (b"{\\rtf", "a Rich Text document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"ARROW1\x00\x00", "an Arrow file"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC\x08", "an ORC file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"\x7fELF", "a program"),
)


def compression_found(head: bytes) -> tuple[str, str] | None:
    """(program, suffix) of what made a file that begins so."""
    for magic, kind, suffix in _COMPRESSED:
        # "BZh" alone may begin a text.
        if head.startswith(magic) and (kind != "bzip2" or head[4:10] in (b"1AY&SY", b"\x17rE8P\x90")):
            return kind, suffix
    return None


def other_found(head: bytes) -> str | None:
    """What a file that begins so is, where it is known not to be text."""
    for magic, what in _OTHERS:
        if head.startswith(magic):
            return what
    # The name of a protein too, behind which a text would go on.
    if head.startswith(b"PAR1") and head[4:5] and head[4] < 32 and head[4] not in b"\t\n\r":
        return "a Parquet file"
    return "a tar archive" if head[257:262] == b"ustar" else None


def check_text(head: bytes, path: str) -> None:
    """Raises InputError when a file that begins with `head`, once decompressed, can't be UTF-8 text."""
    if found := compression_found(head):
        raise InputError(
            f"an input must be named after what it is, {path} holds {found[0]}; give it the suffix {found[1]}, or"
            " decompress it"
        )
    for mark, encoding in _ENCODINGS:
        if head.startswith(mark):
            raise InputError(
                f"text must be UTF-8, {path} begins with the mark of {encoding}; convert it, as with: iconv -f {encoding}"
                " -t UTF-8"
            )
    if what := other_found(head):
        raise InputError(
            f"an input must be named after what it is and hold text, {path} is {what}; take the text out of it"
        )


def check_compressed(head: bytes, kind: str, path: str) -> None:
    """Raises InputError when a file with the suffix of `kind` is known to be something else."""
    found = compression_found(head)
    what = found[0] if found is not None else other_found(head)
    if what is not None and what != kind:
        raise InputError(
            f"a {kind} input must be whole {kind}, {path} is {what}; give it the right suffix, or decompress it"
        )
