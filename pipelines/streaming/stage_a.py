"""Stage A: the graph that an engine runs, from what a source delivers to frozen panes, which a committer then commits.

    records -> ProcessDeliveries (batches of a bundle, each of one window: one element) -> fixed windows -> GroupByKey
            -> FreezePane

No state, no timers, no side inputs and one grouping: what every engine has. A batch is one element with all that is made of
its documents, so that a late one fires as one pane (as pieces and counts side by side it fired as two). An engine that
replays writes a pane of the same documents once more, under the same name or another: the committer drops what it knows.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.unbounded_source import UnboundedSource
from apache_beam.options.pipeline_options import DebugOptions
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, AfterWatermark
from apache_beam.transforms.window import FixedWindows, GlobalWindow, IntervalWindow
from apache_beam.utils.timestamp import Duration, Timestamp
from apache_beam.utils.windowed_value import PaneInfo, PaneInfoTiming, WindowedValue

from clozekit.pipelines.dataset.chain import read_genesis
from clozekit.pipelines.dataset.tokenizer_files import TOKENIZER_FOLDER
from clozekit.pipelines.settings.corpus_settings import CorpusSettings
from clozekit.pipelines.settings.prepare_settings import PrepareSettings
from clozekit.pipelines.settings.stream_recipe import StreamRecipe
from clozekit.pipelines.settings.stream_settings import WindowSettings
from clozekit.pipelines.storage.files import join
from clozekit.pipelines.streaming.commit_pane import freeze
from clozekit.pipelines.streaming.open_stream import Stream, begin_stream
from clozekit.pipelines.streaming.pane import DELIVERIES, Pane, PaneHead
from clozekit.pipelines.streaming.process_deliveries import MAX_BATCH_CHARACTERS, MAX_BATCH_DOCUMENTS, DeliverySteps
from clozekit.pipelines.streaming.sources.delivered import Delivered
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

# Beam drops what is later than this without a trace, so nothing is: the committer has the limit of the stream, and sets aside
# and counts what is beyond it.
ENGINE_LATENESS_SECONDS = 10 * 366 * 86_400
_KEY = b""
_TIMINGS = {PaneInfoTiming.EARLY: "early", PaneInfoTiming.LATE: "late"}


class FreezePanes(beam.PTransform):
    """Documents as a source delivers them to frozen panes of a stream that was begun; gives the names of their files.

    Takes a collection of `Delivered` whose timestamps are their event times, such as that of `beam.io.Read` of a source.

    Args:
        directory: of the stream.
        windows: the windows that it was begun with.
        corpus: how documents are cleaned, filtered and deduplicated.
        options: how they become rows.

    Source: windows and panes: Akidau et al. 2015, The Dataflow Model, sections 2 and 3.
    """

    def __init__(
        self, directory: str, windows: WindowSettings, corpus: CorpusSettings, options: PrepareSettings
    ) -> None:
        super().__init__()
        self._window_seconds = windows.window_seconds
        self._process = _ProcessDeliveries(directory, windows, corpus, options)
        self._freeze = _FreezePane(directory)

    def expand(self, records: beam.PCollection[Delivered]) -> beam.PCollection[str]:
        return (
            records
            | "ProcessDeliveries" >> beam.ParDo(self._process).with_output_types(tuple[bytes, bytes])
            | "WindowIntoPanes"
            >> beam.WindowInto(
                FixedWindows(self._window_seconds),
                # Every late batch by itself: engines without an own clock have no other trigger for it.
                trigger=AfterWatermark(late=AfterCount(1)),
                accumulation_mode=AccumulationMode.DISCARDING,
                allowed_lateness=Duration(ENGINE_LATENESS_SECONDS),
            )
            | "GatherPane" >> beam.GroupByKey()
            | "FreezePane" >> beam.ParDo(self._freeze).with_output_types(str)
        )


def freeze_source(root: beam.Pipeline, recipe: StreamRecipe, source: UnboundedSource) -> beam.PCollection[str]:
    """Begins the stream of a recipe, and adds to a pipeline what freezes the panes of a source; gives their names.

    Raises:
        InputError: for settings that break a rule, a stream of other settings, and engines or options that lose documents.
    """
    _check_flink(root)
    _check_acknowledged(root, recipe)
    _settle_prism(root)
    tokenizer = load_tokenizer(recipe.tokenizer)
    # What it refuses is refused here, not on a worker.
    DeliverySteps(recipe.corpus, recipe.rows, tokenizer)
    begin_stream(recipe.output, recipe.windows, recipe.corpus, recipe.rows, tokenizer)
    records = root | "ReadSource" >> beam.io.Read(source)
    return records | "FreezePanes" >> FreezePanes(recipe.output, recipe.windows, recipe.corpus, recipe.rows)


def _check_flink(root: beam.Pipeline) -> None:
    """With checkpoints, Flink's operators finish a bundle while they are saved: they then send the watermark on before what the
    bundle gave (`DoFnOperator.snapshotState` buffers it), and behind the last watermark everything is dropped. Workers that are kept
    from stage to stage are all that its restarts find, dead ones too."""
    given = root.options.get_all_options(retain_unknown_options=True)
    if not given.get("checkpointing_interval"):
        return
    # A text where it was given: Beam leaves it to the job server.
    kept = str(given.get("environment_cache_millis") or 0)
    if kept != "0":
        raise InputError(
            f"a stream on Flink with --checkpointing_interval keeps no workers, got --environment_cache_millis={kept}; leave it out,"
            " otherwise a restart meets the dead ones of a lost pool and the job fails"
        )
    if not given.get("finish_bundle_before_checkpointing"):
        raise InputError(
            "a stream on Flink with --checkpointing_interval needs --finish_bundle_before_checkpointing too, got it without;"
            " add it, otherwise documents arrive behind the watermark, and those at the end of a source are lost"
        )


def _check_acknowledged(root: beam.Pipeline, recipe: StreamRecipe) -> None:
    """Engines acknowledge what they have read before its window is frozen. Dataflow holds it safely from then on; Prism has it in
    memory alone, and Flink in a checkpoint that is still to come."""
    kinds = [kind.__name__ for kind in type(root.runner).__mro__]
    if recipe.source.kind == "pubsub" and "DataflowRunner" not in kinds:
        raise InputError(
            f"a stream of Pub/Sub on an engine runs on Dataflow alone, got {kinds[0]}, which loses messages when it dies; follow it"
            " with `clozekit stream` on one machine"
        )


def _settle_prism(root: beam.Pipeline) -> None:
    """Prism asks a bundle that stands for a tenth of a second to split, which no source of ours can; Beam's Python worker counts
    how far it is in bytes that it may not have sampled in this bundle, NaN, and the whole job fails (2.77.0)."""
    if type(root.runner).__name__ == "PrismRunner":
        root.options.view_as(DebugOptions).add_experiment("prism_disable_sdf_split")


@dataclass
class _Batch:
    """Documents of one window."""

    documents: list[Delivered]
    characters: int = 0

    def is_full(self) -> bool:
        return len(self.documents) >= MAX_BATCH_DOCUMENTS or self.characters >= MAX_BATCH_CHARACTERS


class _ProcessDeliveries(beam.DoFn):
    """Batches of a bundle, as bytes of a table, each with the time of its first document."""

    def __init__(
        self, directory: str, windows: WindowSettings, corpus: CorpusSettings, options: PrepareSettings
    ) -> None:
        super().__init__()
        self._directory = directory
        self._windows = windows
        self._corpus = corpus
        self._options = options
        self._open: dict[int, _Batch] = {}

    def setup(self) -> None:
        tokenizer = load_tokenizer(join(self._directory, TOKENIZER_FOLDER))
        self._steps = DeliverySteps(self._corpus, self._options, tokenizer)

    def start_bundle(self) -> None:
        # What a failed bundle left comes again with its retry.
        self._open = {}

    def process(self, element: Delivered) -> Iterator[WindowedValue]:
        start, _ = self._windows.window_of(element.event_time)
        batch = self._open.setdefault(start, _Batch([]))
        batch.documents.append(element)
        batch.characters += len(getattr(element.record, "text", ""))
        if batch.is_full():
            yield self._processed(self._open.pop(start))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        while self._open:
            yield self._processed(self._open.pop(min(self._open)))

    def _processed(self, batch: _Batch) -> WindowedValue:
        # The oldest time of the batch: none of its documents was later than the watermark unless this one was.
        time = min(delivered.event_time for delivered in batch.documents)
        content = _to_bytes(self._steps.process(batch.documents))
        return WindowedValue((_KEY, content), Timestamp(micros=1000 * time), (GlobalWindow(),))


class _FreezePane(beam.DoFn):
    """A firing of a window to its file, whose name it gives."""

    def __init__(self, directory: str) -> None:
        super().__init__()
        self._directory = directory

    def setup(self) -> None:
        self._stream = Stream(self._directory, read_genesis(self._directory))

    def process(
        self,
        element: tuple[bytes, Iterable[bytes]],
        window: IntervalWindow = beam.DoFn.WindowParam,
        pane: PaneInfo = beam.DoFn.PaneInfoParam,
    ) -> Iterator[str]:
        tables = [_to_table(content) for content in element[1]]
        # Flink fires once more when a window ends, with nothing in it.
        if not tables:
            return
        start, end = (int(time.micros // 1_000_000) for time in (window.start, window.end))
        # A bounded run fires when all is there, and says nothing of it.
        timing = _TIMINGS.get(pane.timing, "on_time")
        watermark = None if timing == "early" else end
        yield freeze(self._stream, Pane(PaneHead(start, end, timing, watermark), pa.concat_tables(tables))).name


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, DELIVERIES, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _to_table(content: bytes) -> pa.Table:
    return pa.ipc.open_stream(pa.py_buffer(content)).read_all()
