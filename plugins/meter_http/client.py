"""One connection to one destination: a body goes out, a status and some words come back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from meter.errors import FatalSinkError, RetryableSinkError
from meter_http.addresses import is_loopback, shown

if TYPE_CHECKING:
    import httpx

    from meter.clock import Clock
    from meter_http.words import Words

__all__ = ["Answer", "Client", "retry_after_of"]

MOST_BYTES: Final = 262_144
"""So much of an answer is read; Lago's about a hundred events has some tens of kilobytes."""
LONGEST_WAIT: Final = 86_400.0
"""Seconds; a Retry-After beyond a day is taken for a mistake."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a destination answered.

    Attributes:
        status: of HTTP.
        body: its first 256 KiB; nothing, if it is compressed.
        whole: whether that is all of it.
        retry_after: seconds that it asks to wait; None if it does not.
        location: where it points to, without a query; empty if nowhere.
    """

    status: int
    body: bytes = b""
    whole: bool = True
    retry_after: float | None = None
    location: str = ""


class Client:
    """Keeps one connection alive. No redirect is followed and no cookie kept."""

    def __init__(self, url: str, *, timeout: float, clock: Clock, words: Words) -> None:
        """Make the client; nothing is sent yet."""
        import httpx

        from meter import __version__

        self._url = url
        self._clock = clock
        self._words = words
        self._timeout = timeout
        self._http = httpx.Client(
            timeout=timeout,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            # A proxy of the environment is for the world, not for this machine.
            trust_env=not is_loopback(url),
            # Without TLS there is no certificate to check, and reading the roots takes a while.
            verify=urlsplit(url).scheme == "https",
            headers={"user-agent": f"usage-meter/{__version__}", "accept-encoding": "identity"},
        )

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """POST a body.

        Raises:
            RetryableSinkError: there was no answer; it may have arrived all the same.
            FatalSinkError: the request cannot be made.
        """
        return self._ask("POST", self._url, headers, body)

    def options(self) -> Answer:
        """Ask what the address knows, without credentials and without changing anything."""
        return self._ask("OPTIONS", self._url, {}, None)

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """GET an address of the same host."""
        return self._ask("GET", url, headers, None)

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        import httpx

        try:
            with self._http.stream(method, url, headers=headers, content=body) as response:
                return self._read(response)
        except httpx.LocalProtocolError:  # its text may quote a header's value
            raise FatalSinkError(
                f"{shown(url)}: the request cannot be sent; look at `url` and `headers`"
            ) from None
        except httpx.TimeoutException as error:
            what = type(error).__name__
            raise RetryableSinkError(
                f"{shown(url)}: no answer within {self._timeout:g} s ({what})"
            ) from None
        except httpx.TransportError as error:
            said = self._words.of(str(error)) or type(error).__name__
            raise RetryableSinkError(f"{shown(url)}: {said}") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise FatalSinkError(
                f"{shown(url)}: the request cannot be made ({type(error).__name__}); look at `url`"
            ) from None
        finally:
            self._http.cookies.clear()

    def _read(self, response: httpx.Response) -> Answer:
        """Read an answer to a bound of bytes and of time; the status counts, whatever follows."""
        deadline = self._clock.monotonic() + self._timeout
        body = b""
        whole = True
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > MOST_BYTES or self._clock.monotonic() > deadline:
                body, whole = body[:MOST_BYTES], False
                break
        # Compressed, though that was not asked for: a few bytes may be gigabytes.
        packed = "content-encoding" in response.headers
        return Answer(
            status=response.status_code,
            body=b"" if packed else body,
            whole=whole and not packed,
            retry_after=retry_after_of(response.headers.get("retry-after"), self._clock.now()),
            location=shown(response.headers.get("location", "")),
        )


def retry_after_of(value: str | None, now: datetime) -> float | None:
    """Read a Retry-After: seconds or an HTTP date; None when there is none that can be read."""
    if value is None:
        return None
    try:
        seconds = float(value) if value.strip().replace(".", "", 1).isdecimal() else math.nan
        if math.isnan(seconds):
            seconds = (parsedate_to_datetime(value) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)
