"""What every fuzz shares: how many cases it runs, seeded dice for each, damage to bytes and to JSON values."""

import copy
import os
import random
import time
from collections.abc import Iterator
from typing import Any

# How long each fuzz runs: its share of CLOZEKIT_FUZZ_SECONDS, as tests/conftest.py deals it out. Without, `num_cases` run,
# of all fuzzes together in about a minute.
EACH_SECONDS = "CLOZEKIT_FUZZ_EACH_SECONDS"
# CLOZEKIT_FUZZ_SEED=N begins with another case, so that an hour today is not the hour of yesterday.
FIRST = int(os.environ.get("CLOZEKIT_FUZZ_SEED", "0"))
# Values that a damaged or hostile file holds where a number, a string, a list or an object was meant.
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**30, 0.5, float("nan"), float("inf"), "", "5", "x" * 300,
    "\x00", "\ud800", "../outside", "/dev/zero", [], [None], [[]], {}, {"": None}, {"class_name": "Dense", "config": {}},
)  # fmt: skip


def dice_of_cases(num_cases: int) -> Iterator[tuple[int, random.Random]]:
    """(number, dice) of each case: `num_cases` of them (make test-fast: at most 20), or as many as fit into a share of
    CLOZEKIT_FUZZ_SECONDS.

    The dice depend on the number alone, so a find is repeated with CLOZEKIT_FUZZ_SEED=<number>.
    """
    seconds = float(os.environ.get(EACH_SECONDS, "0"))
    if os.environ.get("CLOZEKIT_FAST") == "1":
        num_cases = min(num_cases, 20)
    end, number = time.monotonic() + seconds, FIRST
    while time.monotonic() < end if seconds else number < FIRST + num_cases:
        yield number, random.Random(number)
        number += 1


def damaged_bytes(content: bytes, dice: random.Random) -> bytes:
    """`content` with one to four faults: bits turned, bytes replaced, a part cut out, doubled, or the end lost."""
    damaged = bytearray(content)
    for _ in range(dice.randint(1, 4)):
        if not damaged:
            return dice.randbytes(8)
        start = dice.randrange(len(damaged))
        end = min(len(damaged), start + dice.choice((1, 1, 2, 4, 8, 64)))
        kind = dice.randrange(6)
        if kind == 0:
            damaged[start] ^= 1 << dice.randrange(8)
        elif kind == 1:
            damaged[start:end] = dice.randbytes(end - start)
        elif kind == 2:
            del damaged[start:end]
        elif kind == 3:
            damaged[start:start] = damaged[start:end]
        elif kind == 4:
            damaged[start:end] = dice.choice((b"\xff", b"\x00", b"\x80", b"\x7f")) * (end - start)
        else:
            del damaged[start:]
    return bytes(damaged)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a JSON value, its own (empty) first."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def damaged_json(value: Any, dice: random.Random) -> Any:
    """A copy with one value replaced by an odd one, removed, or put a second time into its list."""
    value = copy.deepcopy(value)
    *way, last = dice.choice([path for path in places(value) if path])
    holder = value
    for key in way:
        holder = holder[key]
    kind = dice.randrange(8)
    if kind == 0:
        del holder[last]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(dice.randrange(len(holder) + 1), copy.deepcopy(holder[last]))
    elif kind == 2 and isinstance(holder[last], int):
        holder[last] += dice.choice((-1, 1, 2**32, -(2**63)))
    else:
        holder[last] = copy.deepcopy(dice.choice(ODD_VALUES))
    return value
