"""`clozekit publish`: a preset or a run's model where others load it, with a model card."""

import argparse
import sys
from typing import Any

from clozekit.deploy.cli.command import PRESET_HELP, command
from clozekit.deploy.cli.json_answer import JsonAnswer
from clozekit.deploy.publish.publish_settings import PUBLISHED_FORMATS, PublishSettings
from clozekit.deploy.quiet_loading import load_tensorflow

ANSWER = JsonAnswer(("target", "format", "what", "files", "notes", "sent", "card_kept", "card"))


def add(commands: Any) -> None:
    parser = command(
        commands,
        "publish",
        "Publish a model at Hugging Face, Kaggle or a URL, with a model card filled from its run.",
        "clozekit publish run/best hf://me/my-model --license apache-2.0 --language en --dry-run\n"
        "  clozekit publish run/preset kaggle://me/my-model/keras/base",
    )
    parser.add_argument("preset", metavar="PRESET", help=PRESET_HELP)
    parser.add_argument(
        "target",
        metavar="TARGET",
        help="hf://owner/name, kaggle://owner/model/keras/variation, or a URL such as gs://bucket/path",
    )
    parser.add_argument(
        "--format",
        choices=list(PUBLISHED_FORMATS),
        default=None,
        help="the layout, as of `convert` (default: huggingface at hf://, keras_hub elsewhere)",
    )
    card = parser.add_argument_group("the card")
    card.add_argument("--card", default=None, metavar="FILE", help="a README.md of your own instead of a filled one")
    card.add_argument("--license", default=None, metavar="ID", help="such as apache-2.0, mit, cc-by-4.0 or other")
    card.add_argument(
        "--language", action="append", default=[], metavar="CODE", help="of the texts, such as en; may be repeated"
    )
    card.add_argument(
        "--dataset", action="append", default=[], metavar="NAME", help="at Hugging Face, owner/name; may be repeated"
    )
    card.add_argument("--hardware", default=None, metavar="TEXT", help="what it was trained on, in words")
    sending = parser.add_argument_group("sending")
    sending.add_argument(
        "--dry-run", action="store_true", help="show the card and the files; nothing is asked for or sent"
    )
    sending.add_argument("--private", action="store_true", help="hf:// makes the new repository a private one")
    sending.add_argument(
        "--message", default=None, metavar="TEXT", help="of the commit at hf://, the version at kaggle://"
    )
    sending.add_argument(
        "--keep-card", action="store_true", help="leave a card there that somebody else wrote or changed"
    )
    sending.add_argument(
        "--replace", action="store_true", help="at hf://: replace what Clozekit did not publish there, the card too"
    )
    ANSWER.add_to(parser)
    parser.set_defaults(run=run, settings_of=settings_of)


def settings_of(arguments: argparse.Namespace) -> PublishSettings:
    """What is published, where and how."""
    return PublishSettings(
        arguments.preset,
        arguments.target,
        arguments.format,
        arguments.card,
        arguments.license,
        tuple(arguments.language),
        tuple(arguments.dataset),
        arguments.hardware,
        arguments.message,
        arguments.private,
        arguments.replace,
        arguments.keep_card,
    )


def run(arguments: argparse.Namespace) -> None:
    settings = settings_of(arguments)
    load_tensorflow()
    from clozekit.deploy.publish.publish_preset import publish

    published = publish(settings, arguments.dry_run)
    if arguments.json:
        ANSWER.show(
            target=settings.target,
            format=settings.format,
            what=published.what,
            files=published.files,
            notes=published.notes,
            sent=not arguments.dry_run,
            card_kept=published.card_kept,
            card=published.card,
        )
        return
    for note in published.notes:
        print(f"note: {note}", file=sys.stderr)
    if arguments.dry_run:
        print(published.card)
    width = max(map(len, published.files))
    for name, size in published.files.items():
        print(f"{name:{width}}  {size:>14,} bytes")
    if arguments.dry_run:
        print(f"{published.what}: nothing was sent to {settings.target}")
        return
    kept = "; the card there was kept" if published.card_kept else ""
    print(f"{published.what}, published at {settings.target} as {settings.format}{kept}")
