"""What the C++ of libraries prints while they load and no variable turns off: kept from the screen, unless one debugs.

CLOZEKIT_DEBUG=1 shows it all, as does `clozekit --debug`. A TF_CPP_MIN_LOG_LEVEL of the user's own is left as it is, and
then nothing is kept back either.
"""

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.import_hooks import around_import

DEBUG = "CLOZEKIT_DEBUG"
_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_QUIET = {_LEVEL: "3", "GRPC_VERBOSITY": "ERROR"}
# absl's and TensorFlow's lines, and what they print below one.
_NOISE = re.compile(
    rb"[IWEF]\d{4} \d\d:?\d\d|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: |WARNING: All log messages before absl|To enable the following"
)


def is_debugging() -> bool:
    return os.environ.get(DEBUG, "") not in ("", "0")


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keeps the libraries' lines from standard error; lines of others are shown at the end, all when the block fails."""
    if is_debugging() or os.environ.get(_LEVEL, _QUIET[_LEVEL]) != _QUIET[_LEVEL]:
        yield
        return
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        shown: Callable[[bytes], bytes] = _lines_of_others
        try:
            yield
        except (InputError, KeyboardInterrupt):
            # One line says it all.
            raise
        except BaseException:
            shown = bytes
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            kept.seek(0)
            os.write(2, shown(kept.read()))


def _lines_of_others(content: bytes) -> bytes:
    return b"".join(line for line in content.splitlines(keepends=True) if not _NOISE.match(line))


def load_tensorflow_quietly() -> None:
    """Sees to it that TensorFlow, whoever imports it first, keeps its start-up messages to itself. It is not loaded now."""
    around_import("tensorflow", _quietly)


def _quietly(load: Callable[[], None]) -> None:
    with quiet_stderr():
        load()
    if not is_debugging():
        sys.modules["tensorflow"].get_logger().setLevel("ERROR")
