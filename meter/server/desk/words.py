"""How texts, amounts and times stand on a page.

Texts of customers are shown as they are where that can harm nobody: what cannot be seen, or turns
the direction of what follows, is written out, and what is very long is cut, with its length.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final
from urllib.parse import urlencode

from meter.events import format_seconds
from meter.reports.money import rounded_text

__all__ = [
    "address",
    "ago",
    "count",
    "day",
    "hours",
    "lasting",
    "seconds",
    "shown",
    "spelt",
    "stamp",
]

MOST_SHOWN: Final = 120
"""The longest text that stands in a line."""
_HOUR: Final = 3600
_SPACE: Final = {"\n": "⏎", "\t": "⇥"}
_BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""What is a letter or a sign by its kind, and cannot be seen."""
_VARIANT: Final = re.compile(r"[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""What chooses between two drawings of a sign, and mostly cannot be seen."""
_ODD_SPACES: Final = re.compile(r"^ +| +$| {2,}")
_MOST_SPELT: Final = 500


def shown(value: object, most: int = MOST_SHOWN) -> str:
    """Write a text on one line, with nothing in it that cannot be seen."""
    text = "" if value is None else str(value)
    cut = text if len(text) <= most else f"{text[: most - 20]}"
    seen = "".join(_seen(c) for c in cut)
    return seen if cut == text else f"{seen}… ({len(text):,} characters)"


def spelt(name: str) -> str:
    """Write out what a look at a name does not tell, each such space as `␣`; empty when nothing.

    Those are spaces at its ends, several in a row, and whatever cannot be seen.
    """
    marked = _ODD_SPACES.sub(lambda spaces: "␣" * len(spaces[0]), name)
    written = "".join(_escaped(c) if _VARIANT.match(c) else _seen(c) for c in marked)
    if written == name:
        return ""
    half = _MOST_SPELT // 2
    return written if len(written) <= _MOST_SPELT else f"{written[:half]} … {written[-half:]}"


def _seen(character: str) -> str:
    if character.isprintable() and character not in _BLANK:
        return character
    return _SPACE.get(character) or _escaped(character)


def _escaped(character: str) -> str:
    if not character.isprintable():
        return repr(character)[1:-1]
    return character.encode("ascii", "backslashreplace").decode()


def count(number: int) -> str:
    """Write how many: `1,204`."""
    return f"{number:,}"


def seconds(amount: Decimal) -> str:
    """Write exact seconds, its thousands apart: `12,345.5`."""
    whole, point, decimals = format_seconds(amount).partition(".")
    return f"{int(whole):,}{point}{decimals}"


def hours(amount: Decimal) -> str:
    """Write seconds as hours with two decimals, rounded half to even."""
    whole, _, decimals = rounded_text(Fraction(amount) / _HOUR, 2).partition(".")
    return f"{int(whole):,}.{decimals}"


def lasting(span: timedelta) -> str:
    """Write how long something has lasted: `3 min`, `2 h 5 min`; never negative."""
    total = max(0, int(span.total_seconds()))
    days, rest = divmod(total, 86400)
    whole, minutes = divmod(rest, _HOUR)
    minutes //= 60
    if days:
        return f"{days} d {whole} h" if whole else f"{days} d"
    if whole:
        return f"{whole} h {minutes} min" if minutes else f"{whole} h"
    return f"{minutes} min" if minutes else f"{total} s"


def ago(now: datetime, then: datetime) -> str:
    """Write how long ago something was."""
    return f"{lasting(now - then)} ago"


def stamp(at: datetime) -> str:
    """Write a UTC time to the second, for a machine's attribute."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def day(text: str) -> str:
    """Write a day such as `2026-11-22` as `22 Nov`."""
    at = datetime.fromisoformat(text)
    return f"{at.day} {at:%b}"


def address(path: str, /, **query: object) -> str:
    """Return a path with its query, escaped; what is None or empty is left out."""
    given = {name: str(value) for name, value in query.items() if value not in (None, "")}
    written = urlencode(given, errors="surrogatepass")
    return f"{path}?{written}" if written else path
