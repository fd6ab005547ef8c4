"""Sums of usage that are asked for again and again: worked out once, then each new event is added.

Exact at any time: events are only ever added to a journal, and each is added to a sum once. It is
known up to which offset a sum reaches, because it is kept only if nothing was recorded meanwhile.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from meter.journal.rollup import Amount
from meter.reports.usage import Periods, Use, calendar_of, group_of, in_order, usage

if TYPE_CHECKING:
    from meter.journal import Journal
    from meter.reports.usage import Question

__all__ = ["RunningSums"]

MOST_NEW: Final = 5_000
"""With more new events than this, everything is added up again: that is quicker."""
MOST_KEPT: Final = 16
"""How many questions are remembered, those that were asked last."""


@dataclass(slots=True)
class _Sum:
    """The answer to a question, up to an offset."""

    uses: dict[tuple[str | None, ...], Use]
    periods: Periods
    offset: int


class RunningSums:
    """Answers questions about one journal as `usage` does. Methods may be called from any thread.

    Questions about dimensions are not for it.
    """

    def __init__(self, journal: Journal) -> None:
        """Know none yet."""
        self._journal = journal
        self._one = threading.Lock()
        self._kept: OrderedDict[Question, _Sum] = OrderedDict()

    def usage(self, question: Question) -> list[Use]:
        """Add up usage, sorted; see `meter.reports.usage.usage`."""
        with self._one:
            head = self._journal.head()
            kept = self._kept.get(question)
            if kept is None or head - kept.offset > MOST_NEW:
                found = usage(self._journal, question)
                if self._journal.head() != head:
                    return found
                uses = {use.group: use for use in found}
                kept = self._kept[question] = _Sum(uses, Periods(calendar_of(question)), head)
            elif head > kept.offset:
                self._go_on(question, kept)
            self._kept.move_to_end(question)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            copies = [replace(use, rated=dict(use.rated)) for use in kept.uses.values()]
        return in_order(copies, question.by)

    def _go_on(self, question: Question, kept: _Sum) -> None:
        for event in self._journal.rollup.read(kept.offset, MOST_NEW):
            wanted, period = kept.periods.at(event.at)
            series = question.reduced(event.series)
            if wanted and series is not None:
                group = group_of(question.by, period, series, {})
                use = kept.uses.setdefault(group, Use(group))
                use.add(series, Amount(1, event.nanos))
            kept.offset = event.offset
