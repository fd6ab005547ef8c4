"""Where items go: what a destination answers, and how `to=` names one."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

__all__ = ["Destination", "Outlet", "Unacceptable", "Undelivered", "Verdict", "destination_of"]

SECRET_VARIABLE: Final = "METER_INGEST_SECRET"  # noqa: S105  because it names a variable
_HOST_AND_PORT: Final = re.compile(r"[\w.-]+:\d+(/.*)?")


class Undelivered(Exception):
    """Nothing is known to have arrived: send the same again later.

    Args:
        reason: what happened, without secrets.
        retry_after: seconds that were asked for.
    """

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Unacceptable(Exception):
    """The items as a whole will never be taken; each alone perhaps."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one item, in the words of `POST /v1/sessions`."""

    status: str
    reason: str | None = None


class Outlet(Protocol):
    """A destination, open. Used within one event loop."""

    async def deliver(self, items: Sequence[bytes]) -> Sequence[Verdict]:
        """Hand over items; answers a verdict for each, in order.

        Raises:
            Undelivered: try again later.
            Unacceptable: try each alone; one that is refused alone is refused for good.
        """

    async def close(self) -> None:
        """Let go of connections and files."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A running meter, or a journal file.

    Attributes:
        to: the base URL without a slash at its end, or the file's absolute path.
        collector: what items in a journal file count as; None for a URL.
        secret: for a URL; never shown.
    """

    to: str
    collector: str | None = None
    secret: str = field(default="", repr=False)

    @property
    def key(self) -> str:
        """What tells this destination's spool from any other's."""
        return hashlib.sha256(f"{self.to}\n{self.collector or ''}".encode()).hexdigest()[:16]

    def open(self) -> Outlet:
        """Return a fresh way there; nothing is opened before the first delivery."""
        if self.collector is None:
            from meter.recording.over_http import HttpOutlet

            return HttpOutlet(self.to, self.secret)
        from meter.recording.into_journal import JournalOutlet

        return JournalOutlet(Path(self.to), self.collector)


def destination_of(
    to: str | os.PathLike[str], *, secret: str | None, collector: str | None
) -> Destination:
    """Read what the user gave.

    Raises:
        ValueError: it names no destination, or what this one needs is missing.
    """
    given: object = to
    text = os.fspath(to) if isinstance(given, str | os.PathLike) else None
    if not text or "\0" in text:
        raise ValueError(
            "to: expected the URL of a running meter, such as http://127.0.0.1:8787, or the path "
            "of a journal file"
        )
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if scheme in {"http", "https"}:
        return Destination(_base_url(text), secret=_secret(secret))
    if scheme:
        raise ValueError(f"to: {scheme}:// is not known here; use http://, https:// or a path")
    if isinstance(to, str) and _HOST_AND_PORT.fullmatch(to):
        raise ValueError(f"to: did you mean http://{to}?")
    path = Path(text).expanduser().absolute()
    if path.is_dir():
        raise ValueError(f"to: {path} is a folder; name the journal file in it")
    if not collector:
        raise ValueError(
            "collector: expected the name of the collector in pipelines.yaml that usage in a "
            "journal file counts as"
        )
    return Destination(str(path), collector)


def _base_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("to: not a URL; expected such as http://127.0.0.1:8787") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("to: a URL with a password in it; pass `secret=`")
    if not host or parts.query or parts.fragment:
        raise ValueError("to: expected the base URL of a running meter, without ? and #")
    return f"{parts.scheme.lower()}://{parts.netloc}{parts.path.rstrip('/')}"


def _secret(secret: str | None) -> str:
    given: object = os.environ.get(SECRET_VARIABLE) if secret is None else secret
    if not isinstance(given, str) or not given:
        raise ValueError(
            f"secret: expected the ingest collector's secret; pass `secret=` or set "
            f"{SECRET_VARIABLE}"
        )
    try:
        sound = given == given.strip() and given.isprintable() and bool(given.encode())
    except UnicodeEncodeError:
        sound = False
    if not sound:
        raise ValueError("secret: it has blanks around it, or characters that no header can hold")
    return given
