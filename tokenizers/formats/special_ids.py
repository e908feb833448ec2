"""Special tokens at ids of their own, among pieces that have the ids left."""

from collections.abc import Mapping, Sequence

from clozekit.tokenizers.common.errors import InputError


def with_special_ids(pieces: Sequence[str], special_ids: Mapping[str, int], special_tokens: Sequence[str]) -> list[str]:
    """All pieces by id. Raises InputError unless `special_ids` gives each special token an id of the vocabulary."""
    size = len(pieces) + len(special_tokens)
    ids = list(special_ids.values())
    whole = all(isinstance(number, int) and not isinstance(number, bool) and 0 <= number < size for number in ids)
    if not whole or set(special_ids) != set(special_tokens) or len(set(ids)) < len(ids):
        raise InputError(
            f"special_ids must give each of {', '.join(special_tokens)} another id below {size}, got"
            f" {dict(special_ids)!r:.200}; correct it"
        )
    special = {number: piece for piece, number in special_ids.items()}
    ordinary = iter(pieces)
    return [special[number] if number in special else next(ordinary) for number in range(size)]
