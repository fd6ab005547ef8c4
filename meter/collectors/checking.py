"""What `meter check --connect` finds out for collectors: addresses, keys, clocks and secrets.

Each question has a few seconds, and changes nothing where it is asked.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from meter.errors import CollectorError

if TYPE_CHECKING:
    import httpx

    from meter.sinks import Secret

__all__ = [
    "ASK_SECONDS",
    "OFFLINE",
    "clock_words",
    "leads_here",
    "may_open_sessions",
    "place_words",
    "weaknesses",
]

ASK_SECONDS: Final = 10.0
"""How long one question may take."""
OFFLINE: Final = "does this machine reach it (DNS, proxy, firewall)?"
LEAST_SECRET: Final = 16
"""A secret of fewer characters can be guessed."""
_SKEW: Final = timedelta(seconds=30)
_REGIONS: Final = {
    "api.assemblyai.com": "US",
    "api.eu.assemblyai.com": "EU",
    "streaming.assemblyai.com": "US",
    "streaming.us.assemblyai.com": "US",
    "streaming.eu.assemblyai.com": "EU",
}


def weaknesses(**secrets: Secret | None) -> Iterator[str]:
    """Warn of each secret, by its option's name, that is too short to be one."""
    for name, secret in secrets.items():
        if secret is not None and (length := len(secret.get_secret_value())) < LEAST_SECRET:
            yield (
                f"warning: {name} has {length} characters, and could be guessed; "
                "`openssl rand -hex 32` makes a good one"
            )


def place_words(url: str) -> str:
    """Name a provider's address, with its region where it is known; warn of a stranger's."""
    host = urlsplit(url).hostname or ""
    if host in _REGIONS:
        return f"{host} ({_REGIONS[host]})"
    return f"{host} (on this machine)" if _is_local(host) else f"{host}, which is not AssemblyAI's"


def clock_words(ours: datetime, theirs: datetime | None) -> str | None:
    """Warn when this machine's clock differs from a provider's; both UTC."""
    if theirs is None or abs(ours - theirs) <= _SKEW:
        return None
    seconds = round(abs((ours - theirs).total_seconds()))
    side = "ahead of" if ours > theirs else "behind"
    return (
        f"warning: this machine's clock is {seconds} s {side} AssemblyAI's: usage near the end of "
        "a month would be filed in the wrong one; set the clock (NTP)"
    )


def may_open_sessions(key: Secret, upstream: str) -> str:
    """Ask AssemblyAI's streaming host whether it takes a key; opens no session.

    It asks for a temporary token that is never used and lasts a second.

    Raises:
        CollectorError: it does not, or does not answer.
    """
    import httpx

    url = upstream.replace("ws", "http", 1).rstrip("/")
    try:
        answer = httpx.get(
            f"{url}/v3/token",
            params={"expires_in_seconds": 1},
            headers={"authorization": key.get_secret_value()},
            timeout=ASK_SECONDS,
        )
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise CollectorError(f"upstream {upstream}: {_why(error)}; {OFFLINE}") from None
    if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise CollectorError(
            f"{place_words(url)} answered {answer.status_code}: it does not take the key; look at "
            "api_key, and whether upstream is its region"
        )
    if answer.status_code != HTTPStatus.OK:
        raise CollectorError(
            f"upstream {place_words(url)} answered {answer.status_code} to a request for a token"
        )
    return f"the key may open sessions at {place_words(url)}"


def leads_here(public_url: str, path: str) -> Iterator[str]:
    """Ask the public address whether it leads to a meter's webhook path.

    Raises:
        CollectorError: it cannot lead there as it stands.
    """
    import httpx

    url = public_url.rstrip("/") + path
    host = urlsplit(url).hostname or ""
    if _is_local(host):
        yield f"warning: public_url {public_url} is this machine alone: AssemblyAI cannot reach it"
    elif urlsplit(url).scheme == "http":
        yield "warning: public_url is http://: the secret passes the network in the open"
    try:
        # meter answers 405 to a GET here, and stores nothing.
        answer = httpx.get(url, timeout=ASK_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        if _is_about_the_name(error):
            raise CollectorError(f"public_url {public_url}: {_why(error)}") from None
        yield f"warning: {url} cannot be reached from here: {_why(error)}"
        return
    yield from _led(url, answer)


def _led(url: str, answer: httpx.Response) -> Iterator[str]:
    status = answer.status_code
    if status == HTTPStatus.METHOD_NOT_ALLOWED and "POST" in answer.headers.get("allow", ""):
        yield f"{url} leads to a meter; whether AssemblyAI reaches it cannot be seen from here"
    elif status == HTTPStatus.NOT_FOUND:
        raise CollectorError(f"{url} answers 404: does the proxy lead this path to meter's port?")
    elif status in (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, 504):
        yield f"warning: {url} answers {status}: is `meter run` running behind it?"
    else:
        yield f"warning: {url} answers {status}, which meter does not: what stands before it?"


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_about_the_name(error: BaseException) -> bool:
    """Tell whether nobody at all could reach it: no such name, or a certificate that is wrong."""
    import socket

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror | ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


def _why(error: Exception) -> str:
    """Say why there was no answer; never the request, which has the key."""
    import httpx

    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {ASK_SECONDS:g} s"
    return f"no answer: {type(error).__name__} {error}".rstrip()
