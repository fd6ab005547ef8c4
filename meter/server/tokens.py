"""`POST /v1/tokens`: tokens for streaming clients, for whoever has the admin secret."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from meter.collectors.relay.tokens import Grant
from meter.errors import ConfigurationError
from meter.http import Response
from meter.server.access import Bearer, wrong_secret

if TYPE_CHECKING:
    from meter.collectors.relay.collector import StreamingCollector
    from meter.http import Request
    from meter.sinks import Secret

__all__ = ["TOKENS_PATH", "TokenDesk"]

TOKENS_PATH: Final = "/v1/tokens"
_OFF: Final = Response(403, b'{"error":"off: set server.admin_secret in the pipelines file"}')
_WRONG_SECRET: Final = wrong_secret("server.admin_secret")


class _Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for; the same as `meter token` takes."""

    customer_id: str
    dimensions: dict[str, str] = {}
    ttl_seconds: int = 60
    max_session_seconds: int | None = None
    single_use: bool = False
    collector: str | None = None


_decode: Final = msgspec.json.Decoder(_Wanted).decode


class TokenDesk:
    """Issues tokens for the streaming collectors of one run."""

    def __init__(
        self, issuers: Mapping[str, StreamingCollector], *admin_secrets: Secret | None
    ) -> None:
        """Issue for these collectors, to whoever has one of the secrets; without any, to nobody."""
        self._issuers = issuers
        self._bearer = Bearer(*admin_secrets)

    async def issue(self, request: Request) -> Response:
        """Answer one request for a token."""
        if not self._bearer.is_set:
            return _OFF
        if not self._bearer.admits(request):
            return _WRONG_SECRET
        try:
            wanted = _decode(await request.body())
            token = self._token(wanted)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _refused(str(error))
        except ConfigurationError as error:
            return _refused(str(error))
        answer = {"token": token, "expires_in_seconds": wanted.ttl_seconds}
        return Response(
            200, msgspec.json.encode(answer), headers=((b"cache-control", b"no-store"),)
        )

    def _token(self, wanted: _Wanted) -> str:
        longest = wanted.max_session_seconds
        try:
            ttl = timedelta(seconds=wanted.ttl_seconds)
            max_session = None if longest is None else timedelta(seconds=longest)
        except OverflowError:
            raise ConfigurationError("ttl_seconds, max_session_seconds: too large") from None
        grant = Grant(
            customer_id=wanted.customer_id,
            dimensions=wanted.dimensions,
            max_session=max_session,
            single_use=wanted.single_use,
        )
        return self._issuer(wanted.collector).token(grant, ttl)

    def _issuer(self, name: str | None) -> StreamingCollector:
        if name is None and len(self._issuers) == 1:
            return next(iter(self._issuers.values()))
        if name is not None and name in self._issuers:
            return self._issuers[name]
        raise ConfigurationError(f"collector: expected one of {', '.join(sorted(self._issuers))}")


def _refused(why: str) -> Response:
    return Response(400, msgspec.json.encode({"error": why}))
