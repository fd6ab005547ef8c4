"""AssemblyAI's REST API as a meter needs it: raw documents, and errors classed by what to do.

It reads through the SDK's own authenticated HTTP client, because the SDK's typed models drop
unknown fields and raise on statuses and models that they do not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote, urlsplit

import msgspec

if TYPE_CHECKING:
    import httpx

    from meter.sinks import Secret

__all__ = ["Api", "ApiError", "ListItem", "Malformed", "NotThere", "Page", "Refused", "Unavailable"]

TIMEOUT_SECONDS: Final = 30.0
PAGE_SIZE: Final = 200
_LATER: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT)


class ApiError(Exception):
    """An answer that is not a document; the subclass says what to do."""


class Unavailable(ApiError):
    """Try again: the network, a 5xx, or a 429; `retry_after` in seconds, where given."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(ApiError):
    """401 or 403: the key is wrong, for every request alike."""


class NotThere(ApiError):
    """404: no such transcript for this key; perhaps another project's, or another region's."""


class Malformed(ApiError):
    """An answer that is no document and should not happen."""


@dataclass(frozen=True, slots=True)
class ListItem:
    """One line of the transcript list: times in UTC, no duration, no webhook URL."""

    id: str
    status: str
    created: datetime
    completed: datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the transcript list, newest first; `older` is the next `before_id`."""

    items: tuple[ListItem, ...]
    older: str | None


class Api:
    """One key on one host."""

    def __init__(
        self, api_key: Secret, base_url: str, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        """Build the SDK's client; nothing is sent yet."""
        import assemblyai

        settings = assemblyai.Settings(
            api_key=api_key.get_secret_value(),
            base_url=base_url.rstrip("/"),
            http_timeout=timeout_seconds,
        )
        self._client = assemblyai.AsyncClient(settings=settings).http_client

    async def transcript(self, transcript_id: str) -> bytes:
        """Fetch one transcript as it stands.

        Raises:
            ApiError: one of its kinds.
        """
        response = await self._get(f"/v2/transcript/{quote(transcript_id, safe='')}", {})
        return response.content

    async def page(self, before_id: str | None) -> Page:
        """Fetch one page of the transcript list, older than `before_id`.

        Raises:
            ApiError: one of its kinds.
        """
        parameters: dict[str, str | int] = {"limit": PAGE_SIZE}
        if before_id is not None:
            parameters["before_id"] = before_id
        response = await self._get("/v2/transcript", parameters)
        try:
            document = msgspec.json.decode(response.content)
            items = tuple(_item(item) for item in document["transcripts"])
            older = document["page_details"].get("prev_url")
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise Malformed(f"the transcript list is not as documented: {error!r}") from None
        before = (
            parse_qs(urlsplit(older).query).get("before_id") if isinstance(older, str) else None
        )
        return Page(items, before[0] if before else None)

    async def greet(self) -> datetime | None:
        """Ask for one line of the list, to learn whether the key is taken.

        Returns:
            The provider's clock, UTC, where its answer says one.

        Raises:
            ApiError: one of its kinds.
        """
        response = await self._get("/v2/transcript", {"limit": 1})
        try:
            return parsedate_to_datetime(response.headers.get("date", "")).astimezone(UTC)
        except (TypeError, ValueError):
            return None

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def _get(self, path: str, parameters: dict[str, str | int]) -> httpx.Response:
        import httpx

        try:
            response = await self._client.get(path, params=parameters)
        except httpx.InvalidURL as error:
            raise Malformed(f"the address cannot be asked for: {error}") from None
        except httpx.TransportError as error:
            raise Unavailable(f"no answer: {type(error).__name__} {error}".rstrip()) from None
        except (httpx.HTTPError, ValueError) as error:
            raise Malformed(f"the answer cannot be read: {type(error).__name__}") from None
        status = response.status_code
        if status == HTTPStatus.OK:
            return response
        if status in (401, 403):
            raise Refused(
                f"AssemblyAI answered {status}: check api_key, and that base_url is its region"
            )
        if status == HTTPStatus.NOT_FOUND:
            raise NotThere("AssemblyAI answered 404: a job of another project, key or region?")
        if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unavailable(f"AssemblyAI answered {status}", _retry_after(response))
        raise Malformed(f"AssemblyAI answered {status}")


def _item(item: Any) -> ListItem:
    identity, status = item["id"], item["status"]
    if not isinstance(identity, str) or not identity:
        raise ValueError("an item without an id")
    completed = item.get("completed")
    return ListItem(
        identity,
        str(status),
        _time(item["created"]),
        None if completed is None else _time(completed),
    )


def _time(text: str) -> datetime:
    """Read a time that comes with and without a `Z`; both mean UTC."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _retry_after(response: httpx.Response) -> float | None:
    """Read `Retry-After`: seconds or an HTTP date; unreadable counts as absent."""
    value = response.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
