"""Running a command of ours in this process."""

import contextlib
import io

from clozekit.deploy.cli.main import main


def run_command(words: list[str]) -> str:
    """The screen of a command, which must end well."""
    screen = io.StringIO()
    status: object = 0
    with contextlib.redirect_stdout(screen):
        try:
            status = main(words)
        except SystemExit as ended:
            status = ended.code
    assert not status, f"clozekit {' '.join(words)} ended with {status}: {screen.getvalue()}"
    return screen.getvalue()
