"""Programs that XLA compiled: kept for the next process, the same results, and nothing that stops a run."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clozekit.tokenizers.common import kept_programs
from clozekit.tokenizers.common.kept_programs import keep_programs, make_room, remove_broken

# Prints what a compiled function gave.
COMPILES = """\
import hashlib
from clozekit.deploy.quiet_loading import load_tensorflow
load_tensorflow()
import tensorflow as tf
@tf.function(jit_compile=True, autograph=False)
def product(x):
    return tf.nn.softmax(tf.sin(x) @ tf.ones([64, 64]))
value = product(tf.reshape(tf.range(4096, dtype=tf.float32), [64, 64]))
print(hashlib.sha256(value.numpy().tobytes()).hexdigest())
"""


def compiled(**variables: str) -> str:
    environment = {**os.environ, "TF_XLA_FLAGS": "", **variables}
    done = subprocess.run(
        [sys.executable, "-c", COMPILES], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def programs(root: Path) -> dict[Path, str]:
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.glob("*/xla_compile_cache*.pb")}


@pytest.mark.slow
def test_a_program_is_kept_found_again_and_made_anew_where_it_is_broken(tmp_path: Path) -> None:
    there = {"CLOZEKIT_PROGRAMS": str(tmp_path)}
    plain = compiled(CLOZEKIT_PROGRAMS="0")
    assert not list(tmp_path.iterdir())
    assert compiled(**there) == plain
    kept = programs(tmp_path)
    (path,) = kept
    before = path.stat().st_mtime_ns
    # It is read and not written again.
    assert compiled(**there) == plain
    assert programs(tmp_path) == kept and path.stat().st_mtime_ns == before
    path.write_bytes(path.read_bytes()[:-5])
    assert compiled(**there) == plain
    # Whole again, if not byte for byte: something of when it was compiled is in it.
    assert programs(tmp_path).keys() == kept.keys()


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.delenv("CLOZEKIT_PROGRAMS", raising=False)
    return monkeypatch


def test_the_folder_is_of_the_version_the_processor_and_the_flags(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clean.setenv("HOME", str(tmp_path))
    plain = keep_programs()
    assert plain is not None and plain.parent == tmp_path / ".cache" / "clozekit" / "programs"
    assert plain.stat().st_mode & 0o777 == 0o700
    flags = os.environ["TF_XLA_FLAGS"]
    assert f"cache_directory={plain} " in flags and flags.endswith("device_types=CPU")
    # A process that this one starts looks for itself, and finds the same.
    assert keep_programs() == plain and os.environ["TF_XLA_FLAGS"] == flags
    clean.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    other = keep_programs()
    assert other is not None and other != plain
    clean.delenv("XLA_FLAGS")
    clean.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3, 4})
    more_cores = keep_programs()
    assert more_cores is not None and more_cores not in (plain, other)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TF_XLA_FLAGS", "--tf_xla_clustering_debug"),
        ("TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory=/somewhere"),
        # A file of flags.
        ("TF_XLA_FLAGS", "/etc/flags"),
        ("XLA_FLAGS", "--xla_dump_to=/somewhere"),
    ],
)
def test_whoever_tells_xla_something_is_left_alone(
    name: str, value: str, clean: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clean.setenv("CLOZEKIT_PROGRAMS", str(tmp_path))
    clean.setenv(name, value)
    assert keep_programs() is None and os.environ[name] == value
    assert not list(tmp_path.iterdir())


def test_a_parents_folder_is_not_taken_where_nothing_is_to_be_kept(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clean.setenv("CLOZEKIT_PROGRAMS", str(tmp_path))
    assert keep_programs() is not None
    clean.setenv("CLOZEKIT_PROGRAMS", "0")
    assert keep_programs() is None and "TF_XLA_FLAGS" not in os.environ


@pytest.mark.parametrize("name", ["white space", 'quo"te', "a=b"])
def test_a_folder_that_tensorflow_cant_be_told_is_none(name: str, clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clean.setenv("CLOZEKIT_PROGRAMS", str(tmp_path / name))
    assert keep_programs() is None and not list(tmp_path.iterdir())


@pytest.mark.parametrize("chosen", ["0", ""])
def test_nothing_is_kept_where_nobody_wants_it(chosen: str, clean: pytest.MonkeyPatch) -> None:
    clean.setenv("CLOZEKIT_PROGRAMS", chosen)
    assert keep_programs() is None and "TF_XLA_FLAGS" not in os.environ


def test_where_no_file_can_be_made_or_there_is_no_room_a_run_goes_on_without(
    clean: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clean.setenv("CLOZEKIT_PROGRAMS", "/proc/nothing")
    assert keep_programs() is None
    (tmp_path / "file").write_text("")
    clean.setenv("CLOZEKIT_PROGRAMS", str(tmp_path / "file"))
    assert keep_programs() is None
    clean.setenv("CLOZEKIT_PROGRAMS", str(tmp_path / "full"))
    clean.setattr(kept_programs, "_ROOM_BYTES", 10**18)
    assert keep_programs() is None and "TF_XLA_FLAGS" not in os.environ


def test_the_oldest_go_first_and_none_of_the_last_day(tmp_path: Path) -> None:
    kept = ("xla_compile_cache_new.pb", "notes.pb", "saved_model.pb")
    days = {kept[0]: 0.5, "xla_compile_cache_old.pb": 2, "xla_compile_cache_older.pb": 3, kept[1]: 9, kept[2]: 9}
    days["xla_compile_cache_begun.pb-host-7.tmp"] = 0.1
    (tmp_path / "kind").mkdir()
    for name, age in days.items():
        path = tmp_path / "kind" / name
        path.write_bytes(b"x" * 100)
        os.utime(path, (time.time() - age * 86400,) * 2)
    make_room(tmp_path, 200)
    assert {path.name for path in tmp_path.glob("*/*")} == {*kept, "xla_compile_cache_old.pb"}
    make_room(tmp_path, 0)
    assert {path.name for path in tmp_path.glob("*/*")} == set(kept)


def test_a_file_that_ends_early_is_removed_wherever_it_ends(tmp_path: Path) -> None:
    # A number, a counted field of 300 bytes, eight bytes, four bytes.
    whole = b"\x08\x96\x01" + b"\x12\xac\x02" + b"z" * 300 + b"\x19" + b"e" * 8 + b"\x25" + b"f" * 4
    ends = {0, 3, 3 + 3 + 300, 3 + 3 + 300 + 9, len(whole)}
    for length in range(len(whole) + 1):
        path = tmp_path / f"xla_compile_cache_{length}.pb"
        path.write_bytes(whole[:length])
        remove_broken(tmp_path)
        assert path.exists() == (length in ends and length > 0), length
        path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "content", [b"\x0b no protobuf", b"\x12" + b"\xff" * 9 + b"\x7f", b"\x12" + b"\xff" * 8 + b"\x7f", b"\xff" * 30]
)
def test_what_is_no_program_is_removed_and_what_is_not_ours_stays(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "xla_compile_cache_7.pb").write_bytes(content)
    (tmp_path / "saved_model.pb").write_bytes(content)
    remove_broken(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["saved_model.pb"]
