"""`python follow_messages.py RECIPE.JSON TOTAL MOMENT`: follows the messages of a recipe until TOTAL documents are committed, and those
of Pub/Sub acknowledged, in this process and those before it.

MOMENT: where it kills itself (-9), or "never": "freeze" behind the first pane, "fragment" before the first fragment is there,
"commit" behind it and before any acknowledgement, "acknowledge" behind the first of several.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

from streams import total_counts

from clozekit.pipelines.settings.stream_recipe import make_stream_recipe
from clozekit.pipelines.streaming import commit_pane, follow_source
from clozekit.pipelines.streaming.follow_recipe import follow, source_of
from clozekit.pipelines.streaming.sources.pubsub_source import PubSubMark


def deadly(function: Callable[..., Any], after: bool) -> Callable[..., Any]:
    def killing(*arguments: Any, **named: Any) -> Any:
        if after:
            function(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    return killing


def noting(finalize: Callable[..., Any], path: Path) -> Callable[..., Any]:
    """Notes the messages of each mark behind its acknowledgement; Google's fake has one name for a message, however often it comes."""

    def noted(mark: Any) -> None:
        finalize(mark)
        with path.open("a", encoding="utf-8") as lines:
            lines.writelines(f"{name}\n" for name in mark.ack_ids)

    return noted


def main() -> None:
    recipe = make_stream_recipe(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), "the recipe")
    acknowledged = Path(f"{sys.argv[1]}.acknowledged")
    total, moment = int(sys.argv[2]), sys.argv[3]
    source = source_of(recipe)
    is_pubsub = recipe.source.kind == "pubsub"
    if is_pubsub:
        acknowledged.touch()
        PubSubMark.finalize_checkpoint = noting(PubSubMark.finalize_checkpoint, acknowledged)  # type: ignore[method-assign]
    if moment == "freeze":
        follow_source.freeze = deadly(follow_source.freeze, after=True)
    elif moment == "fragment":
        commit_pane.make_once = deadly(commit_pane.make_once, after=False)
    elif moment == "commit":
        commit_pane.Committer.commit = deadly(commit_pane.Committer.commit, after=True)  # type: ignore[method-assign]
    elif moment == "acknowledge":
        marks = type(source.create_reader(None, None).get_checkpoint_mark())
        marks.finalize_checkpoint = deadly(marks.finalize_checkpoint, after=True)  # type: ignore[method-assign]
    # Small batches, so that one pane has several marks.
    follow_source.MAX_BATCH_DOCUMENTS = 7

    def is_stopped() -> bool:
        if total_counts(recipe.output)["documents_in"] < total:
            return False
        # All may be in the chain before the first of them is acknowledged.
        return not is_pubsub or len(set(acknowledged.read_text(encoding="utf-8").split())) >= total

    follow(recipe, source, is_stopped, sleep=lambda _: None)


if __name__ == "__main__":
    main()
