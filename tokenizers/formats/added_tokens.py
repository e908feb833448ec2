"""Tokens beside the vocabulary's pieces, found in texts as they are written: what they are, checked when they are made."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.formats.vocabulary_files import piece_bytes

# Longer ones are no tokens, and a text of their first letter alone would take for ever.
MAX_CHARACTERS = 1_000


class AddedToken(NamedTuple):
    """A token as Hugging Face's library adds one.

    Args:
        content: the token as it is written, at most 1,000 characters.
        single_word: only between what is no letter, digit or mark.
        lstrip, rstrip: takes the white space before or after it along.
        normalized: looked for after the normalisation of text and token, not before.
        special: no word of a language.

    Example:

        >>> from clozekit.tokenizers.formats.added_tokens import AddedToken
        >>> gene = AddedToken("BRCA1", single_word=True)
        >>> added = models.BertTokenizer(tokenizer.get_vocabulary(), lowercase=True, added_tokens=[gene])
        >>> added.tokenize("the BRCA1 dog").tolist(), added.id_to_token(16)
        ([6, 16, 14], 'BRCA1')
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = False

    def has_flags(self) -> bool:
        """Whether it is found in another way than exactly as it is written."""
        return self.single_word or self.lstrip or self.rstrip


def added_tokens_of(rows: Iterable[AddedToken | Mapping[str, Any]] | None, source: str) -> tuple[AddedToken, ...]:
    """The tokens of a list of rows. Raises InputError, which says `source`, for what is none, and for one told twice."""
    if rows is None:
        return ()
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
        raise InputError(f"added tokens must be a list, {source} has {rows!r:.80}; correct it")
    tokens = tuple(row if isinstance(row, AddedToken) else added_token_of(row, source) for row in rows)
    seen: set[str] = set()
    for token in tokens:
        if token.content in seen:
            raise InputError(f"a token is added once, {source} adds {token.content!r:.80} twice; remove one")
        seen.add(token.content)
    return tokens


def added_token_of(row: Any, source: str) -> AddedToken:
    """One token of its description: its text under "content", and flags."""
    content = row.get("content") if isinstance(row, Mapping) else None
    if not isinstance(content, str) or not content:
        raise InputError(f"an added token must have its text, {source} has {row!r:.80}; copy it again")
    if len(content) > MAX_CHARACTERS:
        raise InputError(
            f"an added token has at most {MAX_CHARACTERS} characters, {source} has one of {len(content)}; leave it out"
        )
    piece_bytes(content, f"a token that {source} adds")
    unknown = sorted(map(str, set(row) - set(AddedToken._fields)))
    if unknown:
        raise InputError(
            f"an added token has the settings {', '.join(AddedToken._fields)}, {source} sets {unknown[0]!r:.80} of"
            f" {content!r:.80} too; its ids can't be given here"
        )
    flags = {flag: row[flag] for flag in AddedToken._fields[1:] if flag in row}
    for flag, value in flags.items():
        if not isinstance(value, bool):
            raise InputError(f"{flag} of {content!r:.80} must be true or false, {source} has {value!r:.80}; correct it")
    return AddedToken(content, **flags)


def described(tokens: Sequence[AddedToken]) -> list[dict[str, Any]]:
    """The tokens as JSON holds them."""
    return [token._asdict() for token in tokens]
