"""The figures of the reference machine, which the documents show too."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from clozekit.deploy.bench.bench_parts import MEASURES

FIGURES_FILE = Path(__file__).parent / "reference_figures.yaml"


@dataclass(frozen=True)
class Reference:
    """date, machine: when and on what they were measured. figures: name of a measure -> its value."""

    date: str
    machine: str
    figures: dict[str, float]

    def __post_init__(self) -> None:
        names = [measure.name for measure in MEASURES]
        assert list(self.figures) == names, f"a figure for each measure, in their order, got {list(self.figures)}"


def load_reference() -> Reference:
    read = yaml.safe_load(FIGURES_FILE.read_text(encoding="utf-8"))
    return Reference(
        str(read["date"]), read["machine"], {name: float(value) for name, value in read["figures"].items()}
    )
