"""What a document is in texts of `clozekit adapt`: a few text files are cut, so that some can be kept to measure on."""

import re

from clozekit.pipelines.reading.file_formats import format_name
from clozekit.pipelines.reading.input_files import find_inputs
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.text_files.open_input import open_input

# One in twenty documents is kept to measure on; of fewer there would often be none.
_MANY = 20
_LOOKED_AT_BYTES = 2**20
_BLANK_LINE = re.compile(rb"\S[^\n]*\n[ \t\r]*\n\s*\S")


def choose_documents(reading: ReadSettings, outputs: tuple[str, ...] = ()) -> str | None:
    """The `document_kind` of inputs that are fewer than twenty text files and nothing else, None for all others.

    block where a blank line stands between texts in the first MB of one of them, line where none does. outputs: folders that
    Clozekit writes to now. Raises InputError for inputs that are not there or can't be read.
    """
    files = [
        file for source in reading.all_sources for file in find_inputs(source.inputs, source.name, outputs=outputs)
    ]
    if len(files) >= _MANY or any(format_name(file.path, reading) != "text" for file in files):
        return None
    return "block" if any(_has_blocks(file.path) for file in files) else "line"


def _has_blocks(path: str) -> bool:
    with open_input(path, text=True) as stream:
        return _BLANK_LINE.search(stream.read(_LOOKED_AT_BYTES)) is not None
