"""The way to a running meter: `POST /v1/sessions`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec

from meter.recording.destinations import Unacceptable, Undelivered, Verdict

if TYPE_CHECKING:
    import httpx

__all__ = ["HttpOutlet"]

TIMEOUT_SECONDS: Final = 10.0
_UNACCEPTABLE: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class _Results(msgspec.Struct):
    results: list[Verdict]


_decode: Final = msgspec.json.Decoder(_Results).decode


class HttpOutlet:
    """Posts items to one meter."""

    def __init__(self, base_url: str, secret: str) -> None:
        """Know the way; the connection is made with the first delivery, and kept."""
        self._url = f"{base_url}/v1/sessions"
        self._authorization = b"Bearer " + secret.encode()
        self._client: httpx.AsyncClient | None = None

    async def deliver(self, items: Sequence[bytes]) -> Sequence[Verdict]:
        """Post items; see `Outlet.deliver`."""
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False)
        try:
            answer = await self._client.post(
                self._url,
                content=b"[" + b",".join(items) + b"]",
                headers=[
                    (b"authorization", self._authorization),
                    (b"content-type", b"application/json"),
                ],
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Undelivered(f"{self._url}: {type(error).__name__}: {error}") from None
        if answer.status_code in _UNACCEPTABLE:
            raise Unacceptable(f"{self._url} answered {answer.status_code}: {_said(answer)}")
        if answer.status_code != HTTPStatus.OK:
            raise Undelivered(
                f"{self._url} answered {answer.status_code}{_hint(answer.status_code)}",
                retry_after=_retry_after(answer.headers.get("retry-after")),
            )
        try:
            verdicts = _decode(answer.content).results
        except (msgspec.DecodeError, UnicodeDecodeError):
            verdicts = []
        if len(verdicts) != len(items):
            raise Undelivered(f"{self._url} answered something that is not meter's")
        return verdicts

    async def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _hint(status: int) -> str:
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return ": the secret is not the ingest collector's"
        case HTTPStatus.NOT_FOUND:
            return ": does its pipelines.yaml have a collector of `type: ingest`?"
        case _:
            return ""


def _said(answer: httpx.Response) -> str:
    """Return meter's own reason; of what anybody else answered, nothing."""
    try:
        said: Any = msgspec.json.decode(answer.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return str(said.get("error", ""))[:200] if isinstance(said, dict) else ""


def _retry_after(text: str | None) -> float | None:
    """Read seconds, or a date; None when there is neither."""
    if not text:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
