"""Following a recipe: its source, its steps and its stream, put together."""

import time
from collections.abc import Callable
from typing import Any

from apache_beam.io.unbounded_source import UnboundedSource

from clozekit.pipelines.dataset.chain import Fragment
from clozekit.pipelines.settings.stream_recipe import STANDARD_INPUT, StreamRecipe
from clozekit.pipelines.streaming.follow_source import Follower, Progress
from clozekit.pipelines.streaming.open_stream import begin_stream
from clozekit.pipelines.streaming.process_deliveries import DeliverySteps
from clozekit.pipelines.streaming.remove_garbage import remove_garbage
from clozekit.pipelines.streaming.sources.folder_source import FolderSource
from clozekit.pipelines.streaming.sources.standard_input import StandardInputSource
from clozekit.tokenizers.common.extras import require_extras
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer


def follow(
    recipe: StreamRecipe,
    source: UnboundedSource | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
    show: Callable[[Progress, Fragment | None], None] = lambda progress, fragment: None,
    sleep: Callable[[float], Any] = time.sleep,
) -> Progress:
    """Makes a stream of what a source gives, until it ends or is to stop; what is open is committed then.

    Args:
        recipe: which tokenizer, settings and output.
        source: any Beam `UnboundedSource` whose records are `Delivered`; None: what the recipe reads.
        is_stopped: asked between documents.
        show: called after each round, and with each fragment.
        sleep: waits so many seconds, or shorter when the stream is to stop.

    Returns:
        What was read and committed.

    Raises:
        InputError: for settings that break a rule, a stream of other settings, and one that is damaged.

    Example:

        >>> from clozekit.pipelines.settings.stream_recipe import make_stream_recipe
        >>> from clozekit.pipelines.streaming.follow_recipe import follow
        >>> fields = {"tokenizer": "tiny/tokenizer", "output": "tiny/followed", "read": {"inputs": ["tiny/corpus.txt"]}}
        >>> fields |= {"rows": {"sequence_length": 16}, "stream": {"until_idle": True, "settle_seconds": 0}}
        >>> progress = follow(make_stream_recipe(fields, "the example"))
        >>> progress.documents_read, len(progress.fragments)
        (1, 1)
    """
    tokenizer = load_tokenizer(recipe.tokenizer)
    # What it refuses is refused before anything is written.
    steps = DeliverySteps(recipe.corpus, recipe.rows, tokenizer)
    if source is None:
        source = source_of(recipe)
    stream = begin_stream(recipe.output, recipe.windows, recipe.corpus, recipe.rows, tokenizer)
    remove_garbage(stream)
    return Follower(stream, source, steps, recipe.watch, show, sleep).run(is_stopped)


def source_of(recipe: StreamRecipe) -> UnboundedSource:
    """The source that the inputs of a recipe name."""
    if recipe.source.kind == "pubsub":
        require_extras("a source of kind pubsub", "pubsub")
        # What only one source needs is loaded for it alone.
        from clozekit.pipelines.streaming.sources.pubsub_source import PubSubSource

        return PubSubSource(recipe.source, recipe.reading)
    if recipe.source.kind == "kafka":
        require_extras("a source of kind kafka", "kafka")
        from clozekit.pipelines.streaming.sources.kafka_source import KafkaSource

        return KafkaSource(recipe.source, recipe.reading)
    if recipe.reading.inputs == (STANDARD_INPUT,):
        return StandardInputSource(recipe.reading, times=recipe.source)
    return FolderSource(recipe.reading, recipe.watch, (recipe.output,), times=recipe.source)
