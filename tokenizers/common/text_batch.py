"""Several texts as one UTF-8 buffer with offsets: what the compiled kernels read."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from clozekit.tokenizers.common.errors import InputError

Texts: TypeAlias = "Sequence[str] | pa.Array | pa.ChunkedArray | TextBatch"


class TextBatch(NamedTuple):
    """data: uint8 (num_bytes,); offsets: int64 (num_texts + 1,). Text i is `data[offsets[i]:offsets[i + 1]]`."""

    data: np.ndarray
    offsets: np.ndarray


def as_text_batch(texts: Texts) -> TextBatch:
    """The bytes of a list of str (or of UTF-8 bytes), or of an Arrow string array without copying it; itself given one.

    A lone surrogate, which UTF-8 does not have, becomes its three generalised UTF-8 bytes, so that byte-level BPE
    gives it back; the other families treat it as a character of no script.
    """
    if isinstance(texts, TextBatch):
        return texts
    if isinstance(texts, str | bytes):
        raise InputError("texts must be a list of str or an Arrow string array, got one str; put it in a list")
    if not isinstance(texts, pa.Array | pa.ChunkedArray) and not hasattr(texts, "__len__"):
        raise InputError(f"texts must be a list of str or an Arrow string array, got {texts!r:.80}; put it in a list")
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if isinstance(texts, pa.Array):
        return _arrow_buffers(texts)
    try:
        # `large_string` has 64-bit offsets: a batch may pass 2 GiB.
        return _arrow_buffers(pa.array(texts, type=pa.large_string()))
    except UnicodeEncodeError:
        return joined_texts([text.encode("utf-8", "surrogatepass") for text in texts])
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError):
        return joined_texts([_as_bytes(text, index) for index, text in enumerate(texts)])


def decode_text(data: bytes) -> str:
    """The text of UTF-8 bytes: `as_text_batch` backwards, and U+FFFD for what no text has."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        try:
            return data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return data.decode("utf-8", "replace")


def _as_bytes(text: Any, index: int) -> bytes:
    if isinstance(text, str):
        return text.encode("utf-8", "surrogatepass")
    if isinstance(text, bytes):
        return text
    raise InputError(f"every text must be a str, text {index} is {type(text).__name__}; drop it or convert it")


def joined_texts(encoded: list[bytes]) -> TextBatch:
    """Texts that are UTF-8 already."""
    offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return TextBatch(np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets)


def _arrow_buffers(array: pa.Array) -> TextBatch:
    if pa.types.is_string(array.type):
        offset_type: type = np.int32
    elif pa.types.is_large_string(array.type):
        offset_type = np.int64
    elif pa.types.is_null(array.type) and len(array) == 0:
        return joined_texts([])
    else:
        raise InputError(f"an Arrow array of texts must be string or large_string, got {array.type}; cast it")
    if array.null_count:
        raise InputError(f"every text must be a str, {array.null_count} of {len(array)} are null; drop or fill them")
    _, offset_buffer, data_buffer = array.buffers()
    if offset_buffer is None or len(array) == 0:
        return joined_texts([])
    offsets: np.ndarray = np.frombuffer(offset_buffer, dtype=offset_type)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(data_buffer if data_buffer is not None else b"", dtype=np.uint8)
    # Always read-only: one type for the kernels, so one compilation.
    data.flags.writeable = False
    return TextBatch(data, offsets.astype(np.int64))
