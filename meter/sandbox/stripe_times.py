"""Times as Stripe writes them: unix seconds in v1, RFC 3339 in v2."""

from datetime import UTC, datetime

from meter.sandbox.stripe_refusals import invalid


def unix(at: datetime) -> int:
    """Return whole unix seconds, rounded down."""
    return int(at.timestamp() // 1)


def from_unix(seconds: int) -> datetime:
    """Return aware UTC.

    Raises:
        StripeRefusal: 400 for a time beyond any calendar.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        raise invalid(f"Invalid timestamp: {seconds}", param="timestamp") from None


def rfc3339(at: datetime) -> str:
    """Return the time in milliseconds, with a Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_rfc3339(text: str) -> datetime:
    """Return aware UTC.

    Raises:
        StripeRefusal: 400 for what is no time, or a time of no zone.
    """
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (OverflowError, ValueError):
        pass
    raise invalid(f"Invalid timestamp: {text}", param="timestamp", code="invalid_fields")
