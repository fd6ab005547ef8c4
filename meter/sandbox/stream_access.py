"""Who may open a session: API keys, and temporary tokens that are good for one."""

import dataclasses
import secrets
from collections.abc import Collection, Mapping
from http import HTTPStatus

from meter.sandbox.stream_clock import StreamClock
from meter.sandbox.stream_errors import UNAUTHORIZED, TurnedAwayError

EXPIRES_IN_SECONDS = range(1, 601)
SESSION_SECONDS = range(60, 10801)
"""What a token may be asked for (OpenAPI description of `/v3/token`)."""


@dataclasses.dataclass(slots=True, kw_only=True)
class _Token:
    """A temporary token; times are the provider's seconds, and so is the cap of its session."""

    api_key: str
    good_until: float
    session_seconds: int | None
    used: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Whose session it is, and how long a token lets it be, in the provider's seconds."""

    api_key: str
    session_seconds: int | None = None


class TokenRefusedError(Exception):
    """An answer of `/v3/token` other than 200: its status, and the text of its error body."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class StreamAccess:
    """Checks keys, and gives tokens out and takes them in; use inside one event loop.

    `keys` are the accepted API keys; none given accepts any key without a space.
    """

    def __init__(self, *, keys: Collection[str], clock: StreamClock) -> None:
        self._keys = frozenset(keys)
        self._clock = clock
        self._tokens: dict[str, _Token] = {}

    def issue(self, headers: Mapping[str, str], query: Mapping[str, str]) -> dict[str, object]:
        """Return the answer of `GET /v3/token`.

        Raises:
            TokenRefusedError: 401 or 400, as the OpenAPI description has them.
        """
        key = headers.get("authorization", "")
        if key in self._tokens or not self._is_key(key):
            raise TokenRefusedError(HTTPStatus.UNAUTHORIZED, "Invalid or missing API key")
        expires_in = _within(query, "expires_in_seconds", EXPIRES_IN_SECONDS)
        if expires_in is None:
            raise TokenRefusedError(HTTPStatus.BAD_REQUEST, "expires_in_seconds is required")
        token = secrets.token_urlsafe(48)
        self._tokens[token] = _Token(
            api_key=key,
            good_until=self._clock.seconds() + expires_in,
            session_seconds=_within(query, "max_session_duration_seconds", SESSION_SECONDS),
        )
        return {"token": token, "expires_in_seconds": expires_in}

    def admit(self, headers: Mapping[str, str], query: Mapping[str, str]) -> Admission:
        """Say whose session a connection opens; a token is used up by it.

        A token may stand in the query or, as the SDK sends it, in the header.

        Raises:
            TurnedAwayError: Nobody's, with the close code and text.
        """
        given = headers.get("authorization", "")
        if "token" in query or given in self._tokens:
            return self._redeem(query.get("token", given))
        if not given:
            raise _unauthorized("Missing Authorization header")
        if not self._is_key(given):
            raise _unauthorized("Invalid API key")
        return Admission(api_key=given)

    def _is_key(self, key: str) -> bool:
        return key in self._keys if self._keys else bool(key) and " " not in key

    def _redeem(self, text: str) -> Admission:
        token = self._tokens.get(text)
        if token is None:
            raise _unauthorized("Invalid token")
        if token.used:
            raise _unauthorized("Token has already been used")
        if self._clock.seconds() >= token.good_until:
            raise _unauthorized("Token has expired")
        token.used = True
        return Admission(api_key=token.api_key, session_seconds=token.session_seconds)


def _unauthorized(why: str) -> TurnedAwayError:
    return TurnedAwayError(UNAUTHORIZED, f"Unauthorized Connection: {why}")


def _within(query: Mapping[str, str], name: str, allowed: range) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) in allowed):
        raise TokenRefusedError(
            HTTPStatus.BAD_REQUEST,
            f"{name} must be an integer from {allowed.start} to {allowed.stop - 1}",
        )
    return int(text)
