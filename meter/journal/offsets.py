"""Sets of offsets as short text: `3-7,9`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["count_up_to", "pack", "unpack", "within"]


def pack(offsets: Iterable[int]) -> str | None:
    """Write ascending offsets as ranges; None when there are none."""
    ranges: list[list[int]] = []
    for offset in offsets:
        if ranges and offset == ranges[-1][1] + 1:
            ranges[-1][1] = offset
        else:
            ranges.append([offset, offset])
    if not ranges:
        return None
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def unpack(packed: str | None) -> Iterator[range]:
    """Read ranges of offsets."""
    for part in (packed or "").split(","):
        if part:
            first, _, last = part.partition("-")
            yield range(int(first), int(last or first) + 1)


def count_up_to(packed: str | None, limit: int) -> int:
    """Count the offsets up to and including a limit."""
    return sum(len(range(r.start, min(r.stop, limit + 1))) for r in unpack(packed))


def within(packed: str | None, first: int, last: int) -> Iterator[range]:
    """Yield those from `first` to `last`, as ranges that are not empty."""
    for r in unpack(packed):
        if part := range(max(r.start, first), min(r.stop, last + 1)):
            yield part
