"""Choose where a sink is killed: the places where something was just written come first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

__all__ = ["Point", "choose"]


@dataclass(frozen=True, slots=True)
class Point:
    """A visit of a place in the sink's code.

    Attributes:
        place: module, line and function.
        nth: which visit in one run, from 1.
    """

    place: str
    nth: int


def choose(places: Sequence[tuple[str, int, bool]], most: int, seed: int) -> list[Point]:
    """Choose up to `most` points, in the order in which a run reaches them.

    Three quarters are places before which something was written, sent or committed, as far as there
    are so many; the others are drawn from what is left. A place that is visited more than once
    is taken in the middle of its visits: not in the first batch, and not in the last.

    Args:
        places: each place of one run, how often it was visited, and whether something was
            written right before it.
        most: how many points.
        seed: draws others.
    """
    chance = Random(f"points/{seed}")  # noqa: S311  because a test wants the same again
    telling = [n for n, (_, _, after_effect) in enumerate(places) if after_effect]
    others = [n for n in range(len(places)) if n not in telling]
    first = _spread(telling, max(-(-most * 3 // 4), most - len(others)), chance)
    chosen = first + _spread(others, most - len(first), chance)
    return [Point(places[n][0], (places[n][1] + 1) // 2) for n in sorted(chosen)]


def _spread(numbers: Sequence[int], most: int, chance: Random) -> list[int]:
    """Draw one of each of `most` equal stretches."""
    if most <= 0:
        return []
    if len(numbers) <= most:
        return list(numbers)
    size = len(numbers) / most
    stretches = [numbers[round(n * size) : round((n + 1) * size)] for n in range(most)]
    return [chance.choice(stretch) for stretch in stretches if stretch]
