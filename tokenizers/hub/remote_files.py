"""What all presets that have to be downloaded share: errors with a cause, and checksums that are looked at again."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.preset_checksums import read_record, record_of, sha256_of, write_record
from clozekit.tokenizers.hub.preset_files import PresetFiles
from clozekit.tokenizers.storage.download_errors import ChecksumError, download_error

_log = logging.getLogger(__name__)


class RemoteFiles(PresetFiles):
    """A preset that has to be downloaded. `last_id` is the part of its handle that names it."""

    def __init__(self, source: str, last_id: str) -> None:
        super().__init__(source)
        self._last_id = last_id

    def _lacks(self, name: str) -> InputError:
        return download_error(self.source, name, FileNotFoundError(name), self._last_id)

    @contextmanager
    def _named_errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except InputError:
            raise
        # A client may raise anything; it goes on, with its cause in words.
        except Exception as error:
            raise download_error(self.source, name, error, self._last_id) from error

    def _verified(
        self, path: Path, record_path: Path, fetch_again: Callable[[], Path], is_promised: Callable[[Path], bool]
    ) -> Path:
        """`path`, when it holds the bytes that the hub promised and that were here before; else fetched again."""
        record = read_record(record_path)
        if record is None and is_promised(path):
            write_record(record_path, record_of(path))
            return path
        if record is not None and record.fits(path):
            return path
        _log.warning("%s of %s is damaged; it is fetched again", path, self.source)
        path = fetch_again()
        if not is_promised(path) or (record is not None and not record.fits(path)):
            expected = f" instead of {record.sha256}" if record is not None else ""
            raise ChecksumError(f"{path} has sha256 {sha256_of(path)}{expected}; its record is {record_path}")
        write_record(record_path, record_of(path))
        return path
