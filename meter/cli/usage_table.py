"""The answer of `meter usage` as a table, as CSV and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from meter.commands.tables import table
from meter.events import format_seconds
from meter.journal.rollup import NANOS
from meter.reports.money import charge, check_rates, exact_text, rounded_text
from meter.reports.usage import Use

if TYPE_CHECKING:
    from meter.config import RatesOptions

__all__ = ["UsageTable"]

_HOUR: Final = 3600 * NANOS
_BAR: Final = (8, 40)
"""The least and the most columns of a bar."""
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_NONE: Final = "(none)"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet may take for a formula at the start of a cell; as the csv sink has it."""


@dataclass(frozen=True, slots=True)
class _Money:
    """What a row comes to, exact."""

    cost: Fraction
    price: Fraction | None


class UsageTable:
    """Rows of usage, with money where there are rates.

    Attributes:
        rows: as they came, sorted.
        total: all of them.
    """

    def __init__(self, by: Sequence[str], rows: Sequence[Use], rates: RatesOptions | None) -> None:
        """Work out the money.

        Raises:
            ConfigurationError: something was used that has no rate.
        """
        self.rows = rows
        self.total = Use(())
        for row in rows:
            self.total.include(row)
        self._by = by
        self._rates = rates
        if rates is not None:
            check_rates({"rates.cost": rates.cost, "rates.price": rates.price}, self.total.rated)

    def text(self, width: int) -> str:
        """Return the table for people.

        Args:
            width: of the terminal, for bars; 0 for none.
        """
        count = len(self._by)
        header = [*self._by, "events", "seconds", "hours", "not billed", *self._money_header()]
        total = ["total", *[""] * (count - 1), *self._cells(self.total)]
        rows = [
            *(
                [_NONE if v is None else v for v in row.group] + self._cells(row)
                for row in self.rows
            ),
            total,
        ]
        right = range(count, len(header))
        lines = table(header, rows, right=right).splitlines()
        room = min(_BAR[1], width - len(lines[1]) - 2)
        if room >= _BAR[0]:
            bars = self._bars(room)
            rows = [[*row, bar] for row, bar in zip(rows, [*bars, ""], strict=True)]
            lines = table([*header, ""], rows, right=right).splitlines()
            lines[1] = lines[1].rstrip("─").rstrip()  # no rule over the bars
        return "\n".join([*lines[:-1], lines[1], lines[-1]])

    def notes(self) -> Iterator[str]:
        """Yield what has to be said of the figures."""
        rates = self._rates
        if rates is None:
            return
        for name, card in (("cost", rates.cost), ("price", rates.price)):
            if card is None:
                continue
            once = rounded_text(charge(card, self.total.rated), rates.decimals)
            each = sum(
                (Decimal(rounded_text(charge(card, r.rated), rates.decimals)) for r in self.rows),
                Decimal(0),
            )
            if each != Decimal(once):
                yield (
                    f"The total {name} is rounded once, from the exact sum; the rows as they are "
                    f"printed add up to {each:f}."
                )

    def csv(self) -> Iterator[list[str]]:
        """Yield a header and the rows, guarded against spreadsheets that run texts."""
        money = self._printed(Use(()))
        currency = ["currency"] if self._rates is not None else []
        names = [*self._by, "events", "seconds", "hours", "not_billed", *money, *currency]
        yield [_guarded(name) for name in names]
        for row in self.rows:
            cells = self._cells(row, zero="0")
            unit = [self._rates.currency] if self._rates is not None else []
            yield [*(_guarded(value or "") for value in row.group), *cells, *unit]

    def document(self) -> dict[str, Any]:
        """Return everything for JSON; exact figures are text."""
        currency = {} if self._rates is None else {"currency": self._rates.currency}
        return {
            **currency,
            "rows": [
                {**dict(zip(self._by, row.group, strict=True)), **self._figures(row)}
                for row in self.rows
            ],
            "total": self._figures(self.total),
        }

    # -- one row ---------------------------------------------------------------------------

    def _cells(self, row: Use, *, zero: str = "") -> list[str]:
        """Return the figures of a row as printed; `zero` stands for nothing unbilled."""
        return [
            str(row.events),
            format_seconds(row.seconds),
            rounded_text(Fraction(row.nanos, _HOUR), 2),
            str(row.unbilled) if row.unbilled else zero,
            *self._printed(row).values(),
        ]

    def _figures(self, row: Use) -> dict[str, Any]:
        figures: dict[str, Any] = {
            "events": row.events,
            "seconds": format_seconds(row.seconds),
            "hours": rounded_text(Fraction(row.nanos, _HOUR), 2),
            "not_billed": row.unbilled,
            **self._printed(row),
        }
        money = self._money(row)
        if money is not None:
            figures["cost_exact"] = exact_text(money.cost)
            if money.price is not None:
                figures["price_exact"] = exact_text(money.price)
                figures["margin_exact"] = exact_text(money.price - money.cost)
        return figures

    def _money_header(self) -> list[str]:
        currency = "" if self._rates is None else self._rates.currency
        names = self._printed(Use(()))
        return ["margin %" if name == "margin_percent" else f"{name} {currency}" for name in names]

    def _printed(self, row: Use) -> dict[str, str]:
        """Return the money of a row as printed: rounded, and its margin from the rounded."""
        money = self._money(row)
        if money is None or self._rates is None:
            return {}
        decimals = self._rates.decimals
        cost = rounded_text(money.cost, decimals)
        if money.price is None:
            return {"cost": cost}
        price = rounded_text(money.price, decimals)
        margin = Decimal(price) - Decimal(cost)
        share = (
            rounded_text((money.price - money.cost) / money.price * 100, 1) if money.price else ""
        )
        return {"cost": cost, "price": price, "margin": f"{margin:f}", "margin_percent": share}

    def _money(self, row: Use) -> _Money | None:
        if self._rates is None:
            return None
        price = self._rates.price
        return _Money(
            charge(self._rates.cost, row.rated),
            None if price is None else charge(price, row.rated),
        )

    def _bars(self, room: int) -> list[str]:
        most = max((row.nanos for row in self.rows), default=0) or 1
        bars = []
        for row in self.rows:
            eighths = max(1, row.nanos * room * 8 // most) if row.nanos else 0
            bars.append("█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip())
        return bars


def _guarded(text: str) -> str:
    """Keep a spreadsheet from running a text as a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
