"""Figures beside the reference's: ratios, what is far slower, hints; and the documents' table says what the data file says."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from clozekit.deploy.bench import timing
from clozekit.deploy.bench.bench_parts import MEASURES, PARTS
from clozekit.deploy.bench.bench_table import compare, lines, short, title
from clozekit.deploy.bench.bench_text import generate_texts
from clozekit.deploy.bench.measured import Measured
from clozekit.deploy.bench.reference_figures import Reference, load_reference
from clozekit.deploy.bench.set_up import SetUp, hint, look, machine_in_words

PAGE = Path(__file__).parents[3] / "docs" / "benchmarks.md"
REFERENCE = Reference("2026-11-30", "a machine", {measure.name: 8.0 for measure in MEASURES})
GOOD = SetUp(cores=2.0, keeps_bytecode=True, is_glibc=True, flags=(), has_hidden_gpu=False, folder="/tmp")
GENERAL = "nothing of the set-up explains it"


def test_the_page_shows_the_figures_of_the_data_file() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## Your machine beside this page")[2]
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in section.splitlines() if line.startswith("| ")]
    shown = {(what, unit): figure for _, what, figure, unit in rows[1:]}
    reference = load_reference()
    assert shown == {(measure.shown, measure.unit): short(reference.figures[measure.name]) for measure in MEASURES}
    assert f"{reference.machine}; {reference.date}" in section


def test_the_screen_in_the_page_is_of_the_data_files_figures() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("```text\nthis machine")[2].partition("```")[0]
    reference = load_reference()
    for measure in MEASURES:
        if measure.shown in section:
            line = next(line for line in section.splitlines() if line.strip().startswith(measure.shown))
            assert line.removeprefix("  ")[44:].split()[1] == short(reference.figures[measure.name])


def test_every_measure_has_a_part_with_a_title() -> None:
    assert {measure.part for measure in MEASURES} == set(PARTS)
    assert all(title(part) for part in PARTS)
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)


@pytest.mark.parametrize(
    ("name", "value", "times_as_fast", "is_far_slower"),
    [
        ("tokenizers.bert", 16.0, 2.0, False),
        ("tokenizers.bert", 4.0, 0.5, False),
        ("tokenizers.bert", 2.0, 0.25, True),
        # A time: less is faster.
        ("start.version", 4.0, 2.0, False),
        ("start.version", 32.0, 0.25, True),
    ],
)
def test_the_ratio_is_of_speeds(name: str, value: float, times_as_fast: float, is_far_slower: bool) -> None:
    found = compare(Measured(name, value), REFERENCE, GOOD)
    assert (found.times_as_fast, found.is_far_slower) == (times_as_fast, is_far_slower)
    assert ("far slower than the page" in found.hint) == is_far_slower


def test_a_line_has_both_figures_and_the_hint_stands_below() -> None:
    found = compare(Measured("tokenizers.bert", 2.0, clock_share=3.0, compiled=True), REFERENCE, GOOD)
    line, below = lines(found)
    assert line.split()[-6:] == ["2.00", "8.00", "0.25x", "MB", "a", "CPU-second"]
    assert below.strip().startswith(
        "its kernels were compiled now, once on this machine (not in the figure); far slower"
    )
    assert "3.0 seconds by the clock for a CPU-second" in below


@pytest.mark.parametrize(
    ("part", "clock_share", "changed", "said"),
    [
        ("disk", None, {}, "set TMPDIR"),
        ("start", 1.0, {"keeps_bytecode": False}, "unset PYTHONDONTWRITEBYTECODE"),
        ("start", 1.0, {}, "remote disk"),
        ("start", 2.0, {}, "other work has the cores"),
        ("step", None, {"cores": 1.0}, "this one gives 1"),
        ("step", None, {"is_glibc": False}, "not glibc"),
        ("step", None, {"flags": ("XLA_FLAGS=--x",)}, "XLA_FLAGS=--x changes what TensorFlow compiles"),
        ("step", None, {"has_hidden_gpu": True}, "CUDA_VISIBLE_DEVICES hides its GPUs"),
        ("step", None, {}, GENERAL),
        ("tokenizers", 1.1, {"cores": 1.0}, GENERAL),
    ],
)
def test_the_hint_names_the_likeliest_reason(
    part: str, clock_share: float | None, changed: dict[str, object], said: str
) -> None:
    set_up = SetUp(**{**vars(GOOD), **changed})  # type: ignore[arg-type]
    assert said in hint(part, clock_share, set_up)


def test_looking_at_this_machine_says_its_cores_and_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--a")
    found = look()
    assert found.cores > 0
    assert "XLA_FLAGS=--a" in found.flags
    assert "core" in machine_in_words(found)
    assert "; Python 3." in machine_in_words(found)


def test_the_text_is_the_same_each_time_and_has_near_duplicates() -> None:
    texts = list(generate_texts(200_000))
    assert texts == list(generate_texts(200_000))
    assert sum(len(text.encode()) for text in texts) >= 200_000
    lines_of = [set(text.split("\n")) for text in texts[8:10]]
    assert len(lines_of[0] & lines_of[1]) / len(lines_of[0] | lines_of[1]) > 0.9


def test_a_turn_holds_short_work_several_times(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    clock = SimpleNamespace(perf_counter=lambda: now[0], process_time=lambda: now[0] / 2)
    monkeypatch.setattr(timing, "time", clock)
    monkeypatch.setattr(timing.resource, "getrusage", lambda _: SimpleNamespace(ru_utime=0.0, ru_stime=0.0))
    done = []

    def work() -> None:
        done.append(1)
        now[0] += 1 / 1024

    taken = timing.repeated(work, 0)
    # Once to see how long it takes, then three turns of a tenth of a second.
    assert len(done) == 1 + 3 * 103
    assert (taken.seconds, taken.cpu_seconds, taken.clock_share) == pytest.approx((1 / 1024, 1 / 2048, 2))


@pytest.mark.parametrize(("value", "shown"), [(0.4, "0.40"), (9.994, "9.99"), (21.44, "21.4"), (16578.2, "16,578")])
def test_figures_are_shown_short(value: float, shown: str) -> None:
    assert short(value) == shown
