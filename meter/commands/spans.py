"""Times on a command line: from when, and until when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import click

__all__ = ["MOMENT", "since", "until"]


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
