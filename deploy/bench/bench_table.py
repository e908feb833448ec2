"""The figures of `clozekit bench` beside the reference's: ratios, lines of a table, hints."""

from dataclasses import dataclass

from clozekit.deploy.bench.bench_parts import MEASURES, Measure
from clozekit.deploy.bench.measured import Measured
from clozekit.deploy.bench.reference_figures import Reference
from clozekit.deploy.bench.set_up import FAR_SLOWER, SetUp, hint

_TITLES = {
    "disk": "disk",
    "start": "start and imports",
    "vocabulary": "learning a vocabulary",
    "tokenizers": "tokenizers, one core",
    "cleaning": "cleaning, one core",
    "duplicates": "near-duplicates, one core",
    "prepare": "prepare, one process",
    "step": "a training step",
    "reader": "the reader",
}
_MEASURES = {measure.name: measure for measure in MEASURES}
HEADER = f"{'':<46}{'here':>9}{'page':>9}{'speed':>8}"


@dataclass(frozen=True)
class Compared:
    """A figure beside the reference's. times_as_fast: this machine's speed by the reference's, of a time too. hint: what may be
    the reason where it is far slower, else what is to be known, or nothing."""

    name: str
    unit: str
    value: float
    reference: float
    times_as_fast: float
    hint: str

    @property
    def is_far_slower(self) -> bool:
        return self.times_as_fast < FAR_SLOWER


def compare(measured: Measured, reference: Reference, set_up: SetUp) -> Compared:
    measure = _MEASURES[measured.name]
    wanted = reference.figures[measured.name]
    ratio = measured.value / wanted if measure.is_speed else wanted / measured.value
    notes = []
    if measured.compiled:
        notes.append("its kernels were compiled now, once on this machine (not in the figure)")
    if ratio < FAR_SLOWER:
        notes.append(f"far slower than the page: {hint(measure.part, measured.clock_share, set_up)}")
    return Compared(measured.name, measure.unit, measured.value, wanted, ratio, "; ".join(notes))


def title(part: str) -> str:
    return _TITLES[part]


def lines(compared: Compared) -> list[str]:
    measure: Measure = _MEASURES[compared.name]
    line = (
        f"  {measure.shown:<44}{short(compared.value):>9}{short(compared.reference):>9}{compared.times_as_fast:>7.2f}x"
        f"  {compared.unit}"
    )
    return [line, *([f"    {compared.hint}"] if compared.hint else [])]


def short(value: float) -> str:
    """Three figures of a number, more before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
