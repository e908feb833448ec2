"""The bar of every long loop: drawn over and over on a terminal, a line now and then in a log file."""

import sys
import time
from typing import Any

from tqdm import tqdm

LINE_EVERY_SECONDS = 10.0
_LINE = "{desc}: {percentage:.0f}%, {n_fmt} of {total_fmt}{unit} in {elapsed}, {rate_noinv_fmt}{postfix}"
_LINE_WITHOUT_TOTAL = "{desc}: {n_fmt}{unit} in {elapsed}, {rate_noinv_fmt}{postfix}"


class _Lines(tqdm):
    """tqdm that writes whole lines: every ten seconds, and one at the end."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._written = time.monotonic()
        super().__init__(*arguments, **options)

    def _write(self) -> None:
        self._written = time.monotonic()
        values = {**self.format_dict, "bar_format": _LINE_WITHOUT_TOTAL if self.total is None else _LINE}
        print(self.format_meter(**values), file=self.fp, flush=True)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if time.monotonic() - self._written >= LINE_EVERY_SECONDS:
            self._write()

    def clear(self, nolock: bool = False) -> None:
        """Nothing is drawn that would have to go for a line of others."""

    def close(self) -> None:
        if not self.disable:
            self._write()
            # As for a bar that was never drawn: there is nothing to draw a last time.
            self.last_print_t = 0.0
        super().close()


def progress_bar(*arguments: Any, **options: Any) -> Any:
    """A bar of tqdm, with its arguments, on standard error."""
    if sys.stderr.isatty():
        return tqdm(*arguments, **options)
    # tqdm looks at the clock by this too, so that a line comes when it is due.
    return _Lines(*arguments, **{**options, "mininterval": 1.0})
