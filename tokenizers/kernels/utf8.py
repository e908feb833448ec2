"""Reading code points out of UTF-8 bytes, for the compiled kernels."""

from clozekit.tokenizers.kernels.compiled import inline
from clozekit.tokenizers.kernels.kernel_arrays import Bytes

REPLACEMENT = 0xFFFD


@inline
def decode_at(data: Bytes, position: int, end: int) -> tuple[int, int]:
    """(code point, number of bytes) at `position`; a byte that starts no character is U+FFFD, one byte long.

    Generalised UTF-8: the three bytes of a surrogate give the surrogate.
    """
    byte = int(data[position])
    if byte < 0x80:
        return byte, 1
    left = end - position
    if 0xC2 <= byte < 0xE0 and left >= 2 and data[position + 1] & 0xC0 == 0x80:
        return (byte & 0x1F) << 6 | int(data[position + 1] & 0x3F), 2
    if 0xE0 <= byte < 0xF0 and left >= 3 and data[position + 1] & 0xC0 == 0x80 and data[position + 2] & 0xC0 == 0x80:
        code_point = (byte & 0x0F) << 12 | int(data[position + 1] & 0x3F) << 6 | int(data[position + 2] & 0x3F)
        if code_point >= 0x800:
            return code_point, 3
    elif (
        0xF0 <= byte < 0xF5
        and left >= 4
        and data[position + 1] & 0xC0 == 0x80
        and data[position + 2] & 0xC0 == 0x80
        and data[position + 3] & 0xC0 == 0x80
    ):
        code_point = (
            (byte & 0x07) << 18
            | int(data[position + 1] & 0x3F) << 12
            | int(data[position + 2] & 0x3F) << 6
            | int(data[position + 3] & 0x3F)
        )
        if 0x10000 <= code_point < 0x110000:
            return code_point, 4
    return REPLACEMENT, 1


@inline
def encode_at(buffer: Bytes, position: int, code_point: int) -> int:
    """Writes a code point into `buffer`; the position after it."""
    if code_point < 0x80:
        buffer[position] = code_point
        return position + 1
    if code_point < 0x800:
        buffer[position] = 0xC0 | code_point >> 6
        buffer[position + 1] = 0x80 | code_point & 0x3F
        return position + 2
    if code_point < 0x10000:
        buffer[position] = 0xE0 | code_point >> 12
        buffer[position + 1] = 0x80 | code_point >> 6 & 0x3F
        buffer[position + 2] = 0x80 | code_point & 0x3F
        return position + 3
    buffer[position] = 0xF0 | code_point >> 18
    buffer[position + 1] = 0x80 | code_point >> 12 & 0x3F
    buffer[position + 2] = 0x80 | code_point >> 6 & 0x3F
    buffer[position + 3] = 0x80 | code_point & 0x3F
    return position + 4


@inline
def previous_start(data: Bytes, position: int) -> int:
    """Where the character that ends before `position` starts."""
    position -= 1
    steps = 0
    while position > 0 and steps < 3 and data[position] & 0xC0 == 0x80:
        position -= 1
        steps += 1
    return position
