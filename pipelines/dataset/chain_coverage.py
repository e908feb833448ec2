"""Coverage: which rows make up a chain whose windows were compacted, and what of them is no longer kept. No Beam.

A compacted fragment holds the rows of the windows from one number to another, packed anew. Windows are compacted in their order,
each once, so what was compacted is a beginning of the chain, and so is what was pruned of it. All of it stands in the chain: which
rows are read at a head is a function of the fragments up to it.
"""

from collections.abc import Iterable, Sequence

from clozekit.pipelines.dataset.chain import FileInfo, Fragment, Pruned, fragment_name
from clozekit.tokenizers.common.errors import InputError


def check_coverage(fragments: Iterable[Fragment]) -> None:
    """Raises InputError unless each compacted fragment of a whole chain begins where the one before it ends, and only what was
    compacted is pruned."""
    covered, gone = 0, Pruned(0, 0)
    for fragment in fragments:
        if fragment.covers is not None:
            first, last = fragment.covers
            if first != covered or last < first:
                raise InputError(
                    f"a compacted fragment must begin behind what was compacted before it, {fragment_name(fragment.number)}"
                    f" covers {first} to {last} and {covered} is the next; copy the stream again"
                )
            covered = last + 1
        if fragment.pruned is not None:
            if any(now < before or now > covered for now, before in zip(fragment.pruned, gone, strict=True)):
                raise InputError(
                    f"only what was compacted is pruned, {fragment_name(fragment.number)} says {tuple(fragment.pruned)} and"
                    f" {covered} fragments were compacted; copy the stream again"
                )
            gone = fragment.pruned


def covered_end(fragments: Iterable[Fragment]) -> int:
    """Number of the first fragment that no compacted one covers."""
    return max((fragment.covers.last + 1 for fragment in fragments if fragment.covers is not None), default=0)


def pruned_of(fragments: Iterable[Fragment]) -> Pruned:
    """What is no longer kept."""
    return max((fragment.pruned for fragment in fragments if fragment.pruned is not None), default=Pruned(0, 0))


def standing(fragments: Sequence[Fragment], first: int = 0, end: int | None = None) -> list[Fragment]:
    """The fragments whose rows are those of the windows from number `first` to before `end`, each row once: a compacted one in
    the place of those that it covers, where it covers no other.

    fragments: from number 0 on; end: all of them if None.
    """
    end = len(fragments) if end is None else end
    compacted = {
        fragment.covers.first: fragment
        for fragment in fragments
        if fragment.covers is not None and fragment.covers.first >= first and fragment.covers.last < end
    }
    found = []
    number = first
    while number < end:
        if number in compacted:
            found.append(compacted[number])
            number = compacted[number].covers.last + 1  # type: ignore[union-attr]
            continue
        if fragments[number].frozen is not None:
            found.append(fragments[number])
        number += 1
    return found


def kept_files(fragments: Sequence[Fragment]) -> set[str]:
    """Names of the files that a whole chain needs: all that its fragments name, but for what was pruned and for known hashes.

    Of those the last fragment's are needed; and those of the last window of each compacted fragment, from which what comes
    behind it can be made without the panes before. Validation rows are never pruned: runs are measured on those of their first
    head for good.
    """
    gone = pruned_of(fragments)
    names: set[str] = set()
    for fragment in fragments:
        names |= (
            {shard.name for shard in fragment.splits["validation"].shards} if "validation" in fragment.splits else set()
        )
        if fragment.number >= gone.shards or fragment.frozen is None:
            names |= {shard.name for shard in fragment.shards()} | {file.name for file in fragment.side.values()}
        if fragment.frozen is not None and fragment.number >= gone.panes:
            names.add(fragment.frozen.name)
        if fragment.covers is not None and fragment.covers.last >= gone.panes - 1:
            names |= {file.name for file in known_files(fragments[fragment.covers.last])}
    return names | ({file.name for file in known_files(fragments[-1])} if fragments else set())


def known_files(fragment: Fragment) -> list[FileInfo]:
    """The files of known hashes that a fragment names."""
    return [file for files in fragment.known.values() for file in files]
