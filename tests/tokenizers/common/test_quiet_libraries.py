"""The libraries' lines are kept from the screen, those of others are not, and nothing is when a block fails or one debugs."""

import os

import pytest

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.quiet_libraries import DEBUG, quiet_stderr

NOISE = (
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    b"I0000 00:00:1795846705.268855   29288 cudart_stub.cc:31] Could not find cuda drivers on your machine.\n"
    b"E0000 00:00:1795846716.772270   29288 cuda_platform.cc:52] failed call to cuInit: INTERNAL: UNKNOWN ERROR (303)\n"
    b"To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow.\n"
    b"2026-01-01 10:00:00.123456: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.\n"
)
OTHERS = b"a line of somebody else\n"


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DEBUG, raising=False)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)


def said(capfd: pytest.CaptureFixture[str], error: type[BaseException] | None = None) -> bytes:
    try:
        with quiet_stderr():
            os.write(2, NOISE + OTHERS)
            if error is not None:
                raise error
    except BaseException:
        assert error is not None
    return capfd.readouterr().err.encode()


@pytest.mark.parametrize(
    ("error", "expected"),
    [(None, OTHERS), (InputError, OTHERS), (KeyboardInterrupt, OTHERS), (OSError, NOISE + OTHERS)],
)
def test_only_the_lines_of_libraries_are_kept_back(
    error: type[BaseException] | None, expected: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    assert said(capfd, error) == expected


@pytest.mark.parametrize(
    ("name", "value", "is_quiet"),
    [
        (DEBUG, "1", False),
        (DEBUG, "0", True),
        (DEBUG, "", True),
        ("TF_CPP_MIN_LOG_LEVEL", "0", False),
        ("TF_CPP_MIN_LOG_LEVEL", "3", True),
    ],
)
def test_a_level_of_the_users_own_stays(
    name: str, value: str, is_quiet: bool, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert said(capfd) == (OTHERS if is_quiet else NOISE + OTHERS)
    assert os.environ[name] == value
