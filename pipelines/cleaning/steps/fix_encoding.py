"""Cleaning: texts that were decoded with the wrong charset."""

import pyarrow as pa

from clozekit.pipelines.settings.corpus_settings import CleanSettings
from clozekit.tokenizers.common.extras import require_extras


def clean(texts: pa.Array, settings: CleanSettings) -> pa.Array:
    """Text that was decoded with the wrong charset ("cafÃ©") as it was meant, by ftfy; ASCII has nothing to fix.

    Raises MissingExtraError when it is not installed.
    """
    require_extras("repairing mojibake", "clean")
    import ftfy

    config = ftfy.TextFixerConfig(
        unescape_html=False,
        uncurl_quotes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        fix_line_breaks=False,
        remove_control_chars=False,
        remove_terminal_escapes=False,
        normalization=None,
        explain=False,
    )
    fixed = [text if text.isascii() else ftfy.fix_text(text, config) for text in texts.to_pylist()]
    return pa.array(fixed, texts.type)
