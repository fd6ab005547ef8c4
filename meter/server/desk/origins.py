"""Where a request comes from: this machine, another site's page, or somewhere behind a proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from meter.server.access import is_loopback
from meter.server.desk.tries import network_of

if TYPE_CHECKING:
    from meter.http import Request

__all__ = ["is_from_another_site", "is_https", "is_on_this_machine", "is_own_name", "network"]


def is_own_name(host: str) -> bool:
    """Tell whether a name, or an address, with a port or without, can only be this machine's.

    A name of somebody else's may point here as well: a page of theirs could read ours by it.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or name.endswith(".localhost") or is_loopback(name)


def is_on_this_machine(request: Request) -> bool:
    """Tell whether a browser on this machine asks for this machine, with no proxy in between.

    Browsers speak HTTP/1.1; a proxy that says nothing of whom it asks for often speaks HTTP/1.0.
    """
    host = _header(request, b"host")
    return request.is_local and request.http_version != "1.0" and is_own_name(host)


def is_from_another_site(request: Request) -> bool:
    """Tell whether a page of another site sent it; browsers say so."""
    fetched = _header(request, b"sec-fetch-site")
    if fetched:
        return fetched not in {"same-origin", "none"}
    origin = _header(request, b"origin")
    if origin in {"", "null"}:  # ours are null too: they are sent with no referrer
        return False
    try:
        site = urlsplit(origin).netloc
    except ValueError:  # no browser says that
        return True
    return site.lower() != _header(request, b"host").lower()


def is_https(request: Request) -> bool:
    """Tell whether the browser speaks HTTPS, with a proxy that says so.

    Whoever claims it falsely gets cookies that their own browser does not send back.
    """
    return _header(request, b"x-forwarded-proto").partition(",")[0].strip().lower() == "https"


def network(request: Request) -> str:
    """Name the network that a request comes from.

    A proxy on this machine is believed: the last address is the one that it added itself, be it
    to the line that came or in a line below.
    """
    address = request.client
    if is_loopback(address):
        lines = request.headers(b"x-forwarded-for") or [b""]
        address = lines[-1].decode("latin-1").rpartition(",")[2].strip() or address
    return network_of(address)


def _header(request: Request, name: bytes) -> str:
    return (request.header(name) or b"").decode("latin-1")
