"""What streams on engines are compared with: scripted documents, followed by the driver and frozen by stage A on an engine."""

from collections.abc import Sequence
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from scripted_source import Script, ScriptedSource
from streams import EXACT, ROWS, WINDOW, begin, chain_bytes, document

from clozekit.pipelines.dataset.chain import Fragment, read_chain
from clozekit.pipelines.running.dead_letters import DeadLetter
from clozekit.pipelines.settings.stream_settings import WatchSettings, WindowSettings
from clozekit.pipelines.streaming.commit_pane import Committer, waiting_panes
from clozekit.pipelines.streaming.follow_source import Follower
from clozekit.pipelines.streaming.process_deliveries import DeliverySteps
from clozekit.pipelines.streaming.sources.delivered import Delivered
from clozekit.pipelines.streaming.stage_a import FreezePanes
from clozekit.pipelines.streaming.verify_stream import verify_stream
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

WINDOWS = WindowSettings(WINDOW)
POISON = Delivered("topic/7", 1000, DeadLetter("topic/7", -1, "message 7", "read", "no JSON", ""))


def numbered(first: int, end: int, time: int) -> list[Delivered]:
    """time: seconds of the events."""
    return [document(number, time=time) for number in range(first, end)]


def follow(script: Script, directory: str, tokenizer: BertTokenizer) -> list[Fragment]:
    stream = begin(directory, tokenizer, windows=WINDOWS)
    source = ScriptedSource(script)
    Follower(stream, source, DeliverySteps(EXACT, ROWS, tokenizer), WatchSettings(), sleep=lambda _: None).run()
    return list(read_chain(directory))


def twin(number: int, of: int, time: int) -> Delivered:
    return document(number, document(of).record.text, time)  # type: ignore[union-attr]


def check_same_panes(arguments: Sequence[str], folder: Path, tokenizer: BertTokenizer) -> None:
    """The engine that the arguments lead to fires when the source ends, each window whole."""
    script: Script = [
        [*numbered(0, 30, 10), POISON],
        [*numbered(40, 60, 650), twin(99, 3, 650)],
        600,
        numbered(60, 70, 1250),
        1200,
        1800,
    ]
    engine, followed = str(folder / "engine"), str(folder / "followed")
    stream = begin(engine, tokenizer, windows=WINDOWS)
    options = PipelineOptions(list(arguments))
    options.view_as(StandardOptions).streaming = True
    with beam.Pipeline(options=options) as root:
        root | beam.io.Read(ScriptedSource(script)) | FreezePanes(engine, WINDOWS, EXACT, ROWS)
    assert len(waiting_panes(stream)) == 3
    fragments = list(Committer(stream).commit_waiting())
    assert [fragment.timing for fragment in fragments] == ["on_time"] * 3
    follow(script, followed, tokenizer)
    assert chain_bytes(engine) == chain_bytes(followed)
    assert verify_stream(engine).problems == ()
    assert sum(fragment.counts["documents_in"] for fragment in fragments) == 62
