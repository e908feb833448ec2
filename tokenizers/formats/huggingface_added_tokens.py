"""The tokens that the files of Hugging Face add to a vocabulary, in the order and with the flags that transformers gives."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.formats.added_tokens import AddedToken, added_token_of

# The order in which transformers adds them, and their texts in the classes of the families.
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# What files say of a token beside the fields of AddedToken, and how it is written.
_PASSED_OVER = frozenset({"__type"})
_MOST_TOKENS = 1_000_000
# One thing under its names of two versions.
_EXTRA, _ADDITIONAL = "extra_special_tokens", "additional_special_tokens"


class Told(NamedTuple):
    """tokens: those that transformers has in the end, in the order of their ids. ids: (text, id, file) as files say."""

    tokens: list[AddedToken]
    ids: list[tuple[str, int, str]]


def told_tokens(
    directory: Path,
    settings: Mapping[str, Any],
    content: Mapping[str, Any],
    token_map: Mapping[str, Any],
    added: Mapping[str, Any],
    takes_all: bool,
) -> Told:
    """What the files add together.

    settings: of tokenizer_config.json; content: of tokenizer.json; token_map: of special_tokens_map.json; added: of
    added_tokens.json. takes_all: the class takes tokenizer.json as it stands; a family's own looks at its list of tokens
    only where `added_tokens_decoder` does not stand in the settings. As transformers 5.23 does it.
    """
    ids: list[tuple[str, int, str]] = []
    listed = _listed(directory, content, ids)
    decoder: dict[int, AddedToken] = {}
    roles: dict[str, Any] = {key: settings[key] for key in settings if key in ROLES}
    if settings.get("added_tokens_decoder") is not None:
        token_map = {}
    with_names, more = _more(directory, settings, token_map)
    if settings.get("added_tokens_decoder") is not None:
        decoder = _decoder(directory, settings["added_tokens_decoder"], ids)
    else:
        roles |= {key: value for key, value in token_map.items() if key in ROLES}
        special = {_content(value) for value in roles.values()} | {token.content for token in more}
        for piece, number in added.items():
            named = f"{directory}/added_tokens.json"
            row = {"content": piece, "normalized": piece not in special, "special": piece in special}
            decoder[_id(number, named)] = added_token_of(row, named)
            ids.append((piece, number, named))
        decoder |= listed
    by_content = {token.content: token for token in decoder.values()}
    tokens: dict[str, AddedToken] = {}
    if takes_all:
        tokens = {token.content: token for token in listed.values()}
    tokens |= {decoder[number].content: decoder[number] for number in sorted(decoder)}
    with_roles = [_role_token(directory, role, roles[role]) for role in ROLES if roles.get(role) is not None]
    for token in (*with_roles, *with_names):
        token = by_content.get(token.content, token)
        tokens.setdefault(token.content, token._replace(special=True))
    for token in more:
        tokens.setdefault(token.content, by_content.get(token.content, token))
    if len(tokens) > _MOST_TOKENS:
        raise InputError(f"files add at most {_MOST_TOKENS:,} tokens, {directory} adds {len(tokens):,}; check them")
    return Told(list(tokens.values()), ids)


def _listed(directory: Path, content: Mapping[str, Any], ids: list[tuple[str, int, str]]) -> dict[int, AddedToken]:
    """Of tokenizer.json, in the order in which they stand there."""
    named = f"{directory}/tokenizer.json"
    rows = content.get("added_tokens")
    if rows is None:
        return {}
    if not isinstance(rows, list):
        raise InputError(f"added_tokens of {named} must be a list, it is {rows!r:.80}; copy the file again")
    found: dict[int, AddedToken] = {}
    for place, row in enumerate(rows):
        token = added_token_of(_row(row, drop="id"), named)
        if "id" not in row:
            # As files written by hand: it has the id of its piece.
            found[-1 - len(rows) + place] = token
            continue
        number = _id(row["id"], named)
        if number in found:
            raise InputError(f"an id is that of one token, {named} gives {number} to two; copy the file again")
        found[number] = token
        ids.append((token.content, number, named))
    return found


def _decoder(directory: Path, rows: Any, ids: list[tuple[str, int, str]]) -> dict[int, AddedToken]:
    named = f"{directory}/tokenizer_config.json"
    if not isinstance(rows, dict):
        raise InputError(
            f"added_tokens_decoder of {named} must be id -> token, it is {rows!r:.80}; copy the file again"
        )
    found = {}
    for key, row in rows.items():
        digits = key.isdecimal() and key.isascii() and len(key) < 12
        number = _id(int(key) if digits else key, named)
        found[number] = added_token_of(_row(row), named)
        ids.append((found[number].content, number, named))
    return found


def _row(row: Any, drop: str = "") -> Any:
    if not isinstance(row, dict):
        return row
    kept = {key: value for key, value in row.items() if key not in _PASSED_OVER and key != drop}
    # As `AddedToken(...)` of the library: what is no special token is looked for in normalised text.
    return {"normalized": not kept.get("special", False), **kept}


def _id(number: Any, named: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**31:
        raise InputError(
            f"the id of an added token must be a number from 0 on, {named} has {number!r:.80}; copy it again"
        )
    return number


def _more(
    directory: Path, settings: Mapping[str, Any], token_map: Mapping[str, Any]
) -> tuple[list[AddedToken], list[AddedToken]]:
    """The special tokens beside those of ROLES: (those with names of their own, the rest)."""
    told = {key: value for key, value in settings.items() if key in (_EXTRA, _ADDITIONAL)}
    if not told.get(_EXTRA) and _ADDITIONAL in told:
        told[_EXTRA] = told.pop(_ADDITIONAL)
    named = {key: value for key, value in settings.items() if _is_name(key) and isinstance(value, str)}
    if isinstance(told.get(_EXTRA), dict):
        named |= told.pop(_EXTRA)
    # Those that a version of theirs wrote down count where there are no others.
    named = named or settings.get("model_specific_special_tokens") or {}
    if not isinstance(named, dict):
        raise InputError(
            f"model_specific_special_tokens of {directory} must be name -> token, it is {named!r:.80}; copy the files again"
        )
    named = {key: value for key, value in token_map.items() if _is_name(key) and value is not None} | named
    for key in (_EXTRA, _ADDITIONAL):
        if isinstance(token_map.get(key), list) and isinstance(told.get(key), list) and key == _EXTRA:
            told[key] = [*told[key], *(row for row in token_map[key] if row not in told[key])]
        elif key in token_map:
            told[key] = token_map[key]
    if isinstance(told.get(_EXTRA), dict):
        named |= told.pop(_EXTRA)
    rows = told.get(_EXTRA, told.get(_ADDITIONAL)) or []
    rows = list(rows.values()) if isinstance(rows, dict) else rows if isinstance(rows, list) else [rows]
    return (
        [_role_token(directory, key, value) for key, value in named.items()],
        [_role_token(directory, _EXTRA, value) for value in rows],
    )


def _is_name(key: str) -> bool:
    return key.endswith("_token") and key not in ROLES


def _role_token(directory: Path, role: str, value: Any) -> AddedToken:
    row = {**value, "special": True} if isinstance(value, dict) else {"content": value, "special": True}
    return added_token_of({"normalized": False, **_row(row)}, f"{role} of {directory}")


def _content(value: Any) -> Any:
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else None


def in_order(tokens: Sequence[AddedToken], own: Mapping[str, int]) -> dict[str, int]:
    """Text -> id of the tokens behind a vocabulary of the pieces `own`."""
    ids = dict(own)
    for token in tokens:
        ids.setdefault(token.content, len(ids))
    return {token.content: ids[token.content] for token in tokens}
