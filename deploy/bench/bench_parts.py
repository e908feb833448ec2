"""The parts that `clozekit bench` measures, by name, and what it measures of each; it loads nothing."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One figure. shown: what it is, for people. is_speed: whether more is better; else it is a time, and less is."""

    name: str
    shown: str
    unit: str
    is_speed: bool = True

    @property
    def part(self) -> str:
        return self.name.partition(".")[0]


_TEXT = "MB a CPU-second"
MEASURES = (
    Measure("disk.write", "a file written and flushed, temporary folder", "MB/s"),
    Measure("start.version", "clozekit --version", "CPU-s", is_speed=False),
    Measure("start.beam", "Apache Beam imported", "CPU-s", is_speed=False),
    Measure("start.tensorflow", "TensorFlow and Keras imported", "CPU-s", is_speed=False),
    Measure("vocabulary.bert", "WordPiece", _TEXT),
    Measure("vocabulary.roberta", "byte-level BPE", _TEXT),
    Measure("vocabulary.albert", "SentencePiece", _TEXT),
    Measure("tokenizers.bert", "bert, distil_bert, electra: WordPiece", _TEXT),
    Measure("tokenizers.roberta", "roberta: byte-level BPE", _TEXT),
    Measure("tokenizers.modern_bert", "modern_bert: byte-level BPE", _TEXT),
    Measure("tokenizers.albert", "albert: SentencePiece", _TEXT),
    Measure("tokenizers.xlm_roberta", "xlm_roberta: SentencePiece", _TEXT),
    Measure("cleaning.texts", "Unicode, lines of notice, Gopher's rules", _TEXT),
    Measure("duplicates.near", "MinHash, pairs compared", _TEXT),
    Measure("prepare.as_read", "text to shards", _TEXT),
    Measure("prepare.cleaned", "the same, cleaned, near-duplicates removed", _TEXT),
    Measure("step.first", "`train` up to its first step, compiled", "CPU-s", is_speed=False),
    Measure("step.cpu", "BERT 2 x 128, 32 rows of 128 a step", "tokens a CPU-second"),
    Measure("step.speed", "the same by the clock, all cores or GPUs", "tokens/s"),
    Measure("reader.tokens", "rows read, tokens masked", "million tokens a CPU-second"),
    Measure("reader.whole_words", "rows read, whole words masked", "million tokens a CPU-second"),
)
PARTS = tuple(dict.fromkeys(measure.part for measure in MEASURES))
# About the time of all parts on a quiet machine with two cores.
DEFAULT_SECONDS = 100.0
# Below it the text is short, and the figures only show that everything works.
COMPARABLE_SECONDS = 20.0
