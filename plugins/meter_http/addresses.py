"""Addresses: which ones may be sent to, and how one is shown without what may be a secret."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

__all__ = ["address_fault", "is_loopback", "origin", "shown"]


def address_fault(url: str) -> str | None:
    """Say what is expected instead of this URL; None when it can be sent to.

    The URL itself is never quoted: it may hold a secret.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "a URL such as https://api.example.com/events"
    if parts.username is not None or parts.password is not None:
        return "a URL without a user or password; put them into `headers:`"
    if parts.scheme not in ("http", "https") or not host:
        return "a URL such as https://api.example.com/events"
    if parts.fragment or any(not "!" <= letter <= "~" for letter in url):
        return "a URL in ASCII, without blanks or a #fragment"
    return None


def is_loopback(url: str) -> bool:
    """Tell whether an address is this machine's own."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port: who would be given the credentials."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80}.get(parts.scheme, 443)


def shown(url: str) -> str:
    """Write an address for messages: without its query, where tokens stand."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be read"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else parts.path
