"""Times on a command line: from when, and until when."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

__all__ = ["MOMENT", "bounds", "in_month", "since", "until"]

_MONTH: Final = re.compile(r"\d{4}-\d{2}")


class _Moment(click.ParamType[datetime]):
    """A day, or a time of day, in UTC unless it says another zone."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Read a time.

        Raises:
            BadParameter: it is none.
        """
        if isinstance(value, datetime):
            return value
        try:
            at = datetime.fromisoformat(value)
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is no time; write 2026-11-22, 2026-11-22T14:30 (UTC), or "
                "2026-11-22T14:30+01:00",
                param,
                ctx,
            )
        return at.replace(microsecond=0)


MOMENT: Final = _Moment()

since = click.option(
    "--from", "since", type=MOMENT, help="Only usage from this day or time on (UTC)."
)
until = click.option("--to", "until", type=MOMENT, help="Only usage before this day or time (UTC).")
in_month = click.option(
    "--month", metavar="YYYY-MM", help="One month (UTC), instead of --from and --to."
)


def bounds(
    since: datetime | None, until: datetime | None, month: str | None
) -> tuple[datetime | None, datetime | None]:
    """Return from when and until when, UTC, of the three options; None where there is no bound.

    Raises:
        UsageError: they exclude each other.
        BadParameter: there is no such month, or it would end before it begins.
    """
    if month is not None:
        if since is not None or until is not None:
            raise click.UsageError("--month stands alone: leave out --from and --to")
        try:
            if not _MONTH.fullmatch(month):
                raise ValueError
            since = datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC)
            until = (since + timedelta(days=31)).replace(day=1)
        except (ValueError, OverflowError):
            raise click.BadParameter(
                "expected a month such as 2026-11", param_hint="--month"
            ) from None
    if since is not None and until is not None and until <= since:
        raise click.BadParameter("expected to be later than --from", param_hint="--to")
    return since, until
