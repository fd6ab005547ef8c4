"""Who may ask: whoever sends the right secret, or is on this machine."""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from meter.http import Response

if TYPE_CHECKING:
    from meter.http import Request
    from meter.sinks import Secret

__all__ = ["Bearer", "is_loopback", "wrong_secret"]


class Bearer:
    """`Authorization: Bearer <secret>`, compared in constant time."""

    def __init__(self, *secrets: Secret | None) -> None:
        """Take any of these; with none of them, nobody."""
        self._digests: Final = [
            hashlib.sha256(secret.get_secret_value().encode()).digest()
            for secret in secrets
            if secret is not None
        ]

    @property
    def is_set(self) -> bool:
        """Tell whether there is a secret that could be right."""
        return bool(self._digests)

    def admits(self, request: Request) -> bool:
        """Tell whether a request carries a secret that is right."""
        scheme, _, given = (request.header(b"authorization") or b"").partition(b" ")
        digest = hashlib.sha256(given.strip()).digest()
        fits = [hmac.compare_digest(digest, each) for each in self._digests]
        return scheme.lower() == b"bearer" and any(fits)


def is_loopback(host: str) -> bool:
    """Tell whether an address, without a port, is this machine's own; a name is none."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def wrong_secret(name: str) -> Response:
    """Return the answer to a secret that is missing or wrong; `name` says which one to send."""
    return Response(
        401,
        b'{"error":"missing or wrong secret; send Authorization: Bearer <%b>"}' % name.encode(),
        headers=((b"www-authenticate", b"Bearer"),),
    )
