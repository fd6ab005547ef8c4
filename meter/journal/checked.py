"""What a look at a whole journal found: each thing with what it means, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

__all__ = ["MOST_EXAMPLES", "Checked", "Finding", "Tell", "some"]

MOST_EXAMPLES: Final = 3

Tell: TypeAlias = Callable[[str, int, int | None], None]
"""Hears what is being looked at, how much of it is done, and how much there is (None: unknown)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it must be.

    Attributes:
        check: what kind of thing, one word a kind.
        words: what was found.
        means: what follows from it.
        todo: what a person can do.
        count: how many of them there are.
        examples: a few of them.
        grave: false for what is worth knowing and nothing wrong.
    """

    check: str
    words: str
    means: str
    todo: str
    count: int = 1
    examples: tuple[str, ...] = ()
    grave: bool = True


@dataclass(slots=True)
class Checked:
    """What was looked at, and what was found.

    Attributes:
        looked: how much of what was looked at.
        misfiled: by sink, how many events count as delivered that were filtered, so that the sum
            holds; negative for the other way round.
    """

    journal_id: str = ""
    version: int = 0
    head: int = 0
    looked: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    misfiled: dict[str, int] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Nothing grave was found."""
        return not any(finding.grave for finding in self.findings)


def some(things: Iterable[object]) -> tuple[int, tuple[str, ...]]:
    """Count things, and keep the first few as text."""
    count = 0
    examples: list[str] = []
    for thing in things:
        count += 1
        if len(examples) < MOST_EXAMPLES:
            examples.append(str(thing))
    return count, tuple(examples)
