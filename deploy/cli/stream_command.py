"""`clozekit stream`: makes a dataset that grows of text that keeps arriving; and looks at one."""

import argparse
import dataclasses
import signal
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.file_and_changes import file_and_changes
from clozekit.deploy.cli.json_answer import JsonAnswer
from clozekit.deploy.cli.options_of_settings import OptionTable
from clozekit.pipelines.settings.compact_settings import PruneSettings
from clozekit.tokenizers.common.errors import InputError

if TYPE_CHECKING:
    from clozekit.pipelines.settings.stream_recipe import StreamRecipe

ANSWER = JsonAnswer(("stream", "fragments", "documents", "rows", "tokens", "waiting", "whole", "problems"))
_LOOKS = ("verify", "inspect", "list", "repair")
_COMMIT, _PRUNE = "commit", "prune"
PRUNE = OptionTable(PruneSettings)
_SCREEN_SECONDS = 10.0


class StreamStoppedError(RuntimeError):
    """A signal has ended it; everything is saved."""

    exit_status = 75


def add(commands: Any) -> None:
    parser = command(
        commands,
        "stream",
        "Follow folders or standard input, and add what arrives to a dataset that grows, window by window.",
        "clozekit stream stream.yaml stream.window_seconds=60\n"
        "  clozekit stream list stream\n  clozekit stream verify stream\n  clozekit stream inspect stream\n"
        "  clozekit stream commit stream --follow\n  clozekit stream prune stream --retain-days 30 --dry-run\n\n"
        "  stream.yaml:\n"
        "    tokenizer: tokenizer\n    output: stream\n    read: {inputs: [incoming]}\n    clean: {unicode: true}\n"
        "    deduplicate: {kind: exact}\n    rows: {sequence_length: 256}\n    stream: {window_seconds: 600}",
        "clozekit stream [RECIPE.YAML] [KEY=VALUE ...] [--metrics FILE] [--prometheus FILE]\n"
        "       clozekit stream commit STREAM [--follow]\n"
        "       clozekit stream prune STREAM [--retain-days X] [--retain-windows N] [--panes] [--dry-run]\n"
        "       clozekit stream verify|inspect|list|repair STREAM [--json]",
        needs=("pipelines",),
    )
    parser.add_argument(
        "words",
        nargs="+",
        metavar="RECIPE.YAML KEY=VALUE | commit STREAM | prune STREAM | verify STREAM | inspect STREAM | list STREAM | repair STREAM",
        help="a file that says what is followed, if any, and changes to it; or what to do with a stream: `commit`"
        " makes fragments of the panes that an engine froze, `prune` removes the files of windows that `clozekit compact --replace`"
        " put into one, `verify` reads every byte of"
        " it, `inspect` says what it holds, `list` has a line for each fragment, `repair` makes what is missing or damaged"
        " again from its frozen panes",
    )
    parser.set_defaults(rest="words")
    parser.add_argument("--metrics", metavar="FILE", help="append a line of JSON with all measures every ten seconds")
    parser.add_argument(
        "--prometheus",
        metavar="FILE",
        help="write the measures as Prometheus text every ten seconds, the file always whole",
    )
    parser.add_argument(
        "--follow", action="store_true", help="of `commit`: goes on with the panes to come, until SIGTERM"
    )
    pruning = parser.add_argument_group("of `prune`")
    PRUNE.add_to(pruning)
    pruning.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    ANSWER.add_to(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    word, *others = arguments.words
    _check_options(arguments, word)
    if word not in (*_LOOKS, _COMMIT, _PRUNE):
        _follow(arguments)
        return
    if len(others) != 1:
        raise InputError(f"`clozekit stream {word}` takes one stream, got {len(others)}; name its directory")
    if word == _COMMIT:
        _commit(others[0], arguments.follow)
    elif word == _PRUNE:
        _prune(others[0], PRUNE.settings_from(arguments), arguments.dry_run)
    else:
        _look(word, others[0], arguments.json)


def stream_order(arguments: argparse.Namespace) -> "StreamRecipe":
    """What `submit` sends: the recipe of a stream that is followed, with the changes to it."""
    from clozekit.pipelines.settings.stream_recipe import load_stream_recipe

    word, *others = arguments.words
    if word in (*_LOOKS, _COMMIT, _PRUNE):
        raise InputError(f"what is submitted follows a recipe, got stream {word}, which runs here; leave `submit` out")
    _check_options(arguments, word)
    if arguments.metrics or arguments.prometheus:
        raise InputError("--metrics and --prometheus are of a stream that is followed here; leave them out")
    return load_stream_recipe(*file_and_changes(arguments.words))


def _check_options(arguments: argparse.Namespace, word: str) -> None:
    """Raises InputError for an option that the word has not."""
    if arguments.json and word not in _LOOKS:
        got = word if word in (_COMMIT, _PRUNE) else "a recipe; pass --metrics FILE"
        raise InputError(f"--json is for `verify`, `inspect`, `list` and `repair`, got {got}")
    if (arguments.metrics or arguments.prometheus) and word in (*_LOOKS, _COMMIT, _PRUNE):
        raise InputError(
            f"--metrics and --prometheus are for a stream that is followed, got them with {word}; leave them out"
        )
    if arguments.follow and word != _COMMIT:
        raise InputError(f"--follow is for `commit`, got it with {word}; leave it out")
    of_prune = {option: value for option, value in PRUNE.given(arguments).items() if value}
    if (of_prune or arguments.dry_run) and word != _PRUNE:
        name = next(iter(of_prune), "dry_run").replace("_", "-")
        raise InputError(f"--{name} is for `prune`, got it with {word}; leave it out")


def _follow(arguments: argparse.Namespace) -> None:
    from clozekit.pipelines.settings.stream_recipe import load_stream_recipe
    from clozekit.tokenizers.storage.reachable import check_reachable, urls_in

    recipe = load_stream_recipe(*file_and_changes(arguments.words))
    check_reachable(urls_in(recipe))
    # Beam is loaded when all that can be wrong with the recipe is said.
    from clozekit.pipelines.streaming.follow_recipe import follow
    from clozekit.pipelines.streaming.stream_metrics import StreamMeasures, describe_fragment
    from clozekit.tokenizers.common.stop_signals import StopSignals, wait_unless
    from clozekit.tokenizers.storage.file_systems import write_text

    measures = StreamMeasures()
    said = time.monotonic()

    def tell() -> None:
        if arguments.metrics:
            with open(arguments.metrics, "a", encoding="utf-8") as file:
                file.write(measures.to_json())
        if arguments.prometheus:
            write_text(arguments.prometheus, measures.to_prometheus())

    def show(progress: Any, fragment: Any) -> None:
        nonlocal said
        measures.take(progress, fragment)
        if fragment is not None:
            print(describe_fragment(fragment), flush=True)
        if time.monotonic() - said >= _SCREEN_SECONDS:
            said = time.monotonic()
            print(measures.line(), file=sys.stderr, flush=True)
            tell()

    with StopSignals((signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)) as signals:
        print(f"following {', '.join(recipe.reading.inputs)} into {recipe.output}", flush=True)
        follow(recipe, None, signals.is_received, show, partial(wait_unless, signals.is_received))
        tell()
        print(measures.line(), flush=True)
        if signals.received is not None:
            raise StreamStoppedError(
                f"stopped by {signals.received.name}, all that was read is committed; run it again to go on"
            )


def _commit(directory: str, waits: bool) -> None:
    from clozekit.pipelines.streaming.follow_panes import follow_panes
    from clozekit.pipelines.streaming.stream_metrics import describe_fragment
    from clozekit.tokenizers.common.stop_signals import StopSignals, wait_unless

    with StopSignals((signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)) as signals:
        number = follow_panes(
            directory,
            waits,
            signals.is_received,
            lambda fragment: print(describe_fragment(fragment), flush=True),
            partial(wait_unless, signals.is_received),
        )
        print(f"{number:,} panes committed", flush=True)
        if signals.received is not None:
            raise StreamStoppedError(f"stopped by {signals.received.name}; run it again to go on")


def _prune(directory: str, settings: PruneSettings, is_dry: bool) -> None:
    from clozekit.pipelines.streaming.prune_windows import planned_removal, prune_windows

    if is_dry:
        plan = planned_removal(directory, settings)
        print(
            "\n".join(
                [
                    *(f"would remove: {name}" for name in plan.names),
                    f"{len(plan.names):,} files, {plan.num_bytes / 1e6:,.1f} MB",
                ]
            )
        )
        return
    removed = prune_windows(directory, settings)
    print("\n".join([*(f"removed: {name}" for name in removed), f"{len(removed):,} files removed"]))


def _look(word: str, directory: str, as_json: bool) -> None:
    from clozekit.pipelines.streaming.look_at_stream import describe_stream_lines, list_lines

    if word == "list" and not as_json:
        for line in list_lines(directory):
            print(line)
        return
    from clozekit.pipelines.streaming.verify_stream import repair_stream, verify_stream

    if word == "repair":
        written = repair_stream(directory)
        if not as_json:
            print("\n".join([*(f"made again: {name}" for name in written), f"{len(written):,} files made again"]))
            return
    if word == "inspect" and not as_json:
        print("\n".join(describe_stream_lines(directory)))
        return
    verified = verify_stream(directory)
    if as_json:
        ANSWER.show(
            stream=directory,
            fragments=verified.num_fragments,
            documents=verified.num_documents,
            rows=verified.num_rows,
            tokens=verified.num_tokens,
            waiting=verified.num_waiting,
            whole=not verified.problems,
            problems=[dataclasses.asdict(problem) for problem in verified.problems],
        )
    elif verified.problems:
        print("\n".join(map(str, verified.problems)))
    if verified.problems:
        raise InputError(
            f"a stream must be what its chain says, {directory} has {len(verified.problems)} problems (above); run `clozekit"
            " stream repair`, or copy it again"
        )
    if not as_json:
        waiting = f", {verified.num_waiting:,} panes waiting" if verified.num_waiting else ""
        print(
            f"whole: {verified.num_fragments:,} fragments, {verified.num_documents:,} documents, {verified.num_rows:,} rows,"
            f" {verified.num_tokens:,} tokens{waiting}"
        )
