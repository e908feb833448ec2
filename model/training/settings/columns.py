"""Where files of labelled texts hold what: settings of fine-tuning. No TensorFlow."""

from dataclasses import dataclass

FORMATS = ("auto", "tsv", "csv", "jsonl", "conll", "squad")
# What stands between the labels of one text where it has several.
LABELS_BETWEEN = "\x1f"


@dataclass(frozen=True)
class Columns:
    """Where a file holds what: names of its header, keys of its JSON lines, or numbers from 0 where there is no header.

    file_format: "tsv" (a tab ends a field), "csv" (a comma does), "jsonl", or "auto" (by the name of the file). quoting:
    whether quotation marks enclose fields ("double") or are text ("none"); "auto": they enclose in CSV alone. label_separator: what
    stands between the labels of a text that can have several; None where each has one.
    """

    text: str
    text_pair: str | None = None
    label: str | None = None
    header: bool = True
    file_format: str = "auto"
    skip_bad_rows: bool = False
    quoting: str = "auto"
    label_separator: str | None = None

    def used(self) -> list[str]:
        return [name for name in (self.text, self.text_pair, self.label) if name is not None]
