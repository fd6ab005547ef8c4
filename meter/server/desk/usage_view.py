"""Usage as a page shows it: by day, and by customer or what else, with money where rates are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from meter.errors import ConfigurationError
from meter.events import StreamTerminated
from meter.reports.money import charge, check_rates, rounded_text
from meter.reports.usage import Question, Use
from meter.server.desk.chart import Chart, chart_of

if TYPE_CHECKING:
    from meter.config import RatesOptions
    from meter.reports.running_sums import RunningSums
    from meter.server.desk.periods import Period
    from meter.server.desk.sources import Sources

__all__ = ["BEHIND", "Row", "UsageView", "usage_of"]

BEHIND: Final = 50_000
"""With so many events not added up yet, a page says so instead of adding them up itself."""
_UTC: Final = ZoneInfo("UTC")
_WHOLE: Final = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """What one customer used, or what else rows are by.

    Attributes:
        name: None where an event has none.
        share: how long its bar is, of 1000; the longest is the first.
        cost, price: as printed; empty without rates.
    """

    name: str | None
    events: int
    seconds: Decimal
    unbilled: int
    share: int
    cost: str = ""
    price: str = ""


@dataclass(frozen=True, slots=True)
class UsageView:
    """Some days of usage.

    Attributes:
        rows: by what was asked for, most used first.
        left_out: how many more there are.
        total: of all of them.
        currency: of the money; empty without rates.
        unrated: what has no rate, in words; then there is no money at all.
        behind: how many events are not added up yet; then nothing else is there.
    """

    period: Period
    chart: Chart
    rows: Sequence[Row] = ()
    left_out: int = 0
    total: Row | None = None
    currency: str = ""
    has_price: bool = False
    unrated: str = ""
    behind: int = 0


def usage_of(
    sources: Sources,
    period: Period,
    *,
    by: str = "customer",
    customer: str | None = None,
    most: int,
) -> UsageView:
    """Add up some days.

    Args:
        sources: the run.
        period: which days.
        by: what the rows are by: `customer`, `kind` or `model`.
        customer: only this one's.
        most: how many rows.
    """
    behind = sources.journal.rollup.behind()
    if behind > BEHIND:
        return UsageView(period, chart_of([], {}, {}, period.today), behind=behind)
    only = frozenset() if customer is None else frozenset({customer})
    uses = sources.sums.usage(_question((by,), period, only))
    total = Use(())
    for use in uses:
        total.include(use)
    rates, unrated = _rates(sources.config.rates, total)
    top = max((use.nanos for use in uses), default=0) or 1
    return UsageView(
        period,
        _chart(sources.sums, period, only),
        rows=[_row(use, rates, top) for use in uses[:most]],
        left_out=max(0, len(uses) - most),
        total=_row(total, rates, top) if uses else None,
        currency="" if rates is None else rates.currency,
        has_price=rates is not None and rates.price is not None,
        unrated=unrated,
    )


def _chart(sums: RunningSums, period: Period, only: frozenset[str]) -> Chart:
    jobs: dict[str, int] = {}
    streams: dict[str, int] = {}
    for use in sums.usage(_question(("day", "kind"), period, only)):
        day, kind = use.group
        kept = streams if kind == StreamTerminated.kind else jobs
        kept[str(day)] = kept.get(str(day), 0) + use.nanos
    return chart_of(list(period.days()), jobs, streams, period.today)


def _question(by: tuple[str, ...], period: Period, customers: frozenset[str]) -> Question:
    return Question(by=by, zone=_UTC, since=period.since, until=period.until, customers=customers)


def _rates(rates: RatesOptions | None, total: Use) -> tuple[RatesOptions | None, str]:
    """Return the rates, if there is one for everything; otherwise what is missing."""
    if rates is None:
        return None, ""
    try:
        check_rates({"rates.cost": rates.cost, "rates.price": rates.price}, total.rated)
    except ConfigurationError as error:
        return None, str(error)
    return rates, ""


def _row(use: Use, rates: RatesOptions | None, top: int) -> Row:
    cost = price = ""
    if rates is not None:
        cost = rounded_text(charge(rates.cost, use.rated), rates.decimals)
        if rates.price is not None:
            price = rounded_text(charge(rates.price, use.rated), rates.decimals)
    share = use.nanos * _WHOLE // top
    return Row(
        use.group[0] if use.group else None,
        use.events,
        use.seconds,
        use.unbilled,
        min(_WHOLE, share),
        cost,
        price,
    )
