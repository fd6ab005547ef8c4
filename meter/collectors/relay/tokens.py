"""Tokens: who may open a session, for which customer, and for how long.

A token is a JSON Web Token (RFC 7519) signed with HMAC-SHA256, so that any language can make one.
Claims: `aud` the collector's name, `sub` the customer, `exp` and `iat` in Unix seconds, `jti`;
and, of meter's own, `dimensions`, `max_session_seconds` and `single_use`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt

from meter.errors import ConfigurationError
from meter.streaming import LONGEST_SESSION

__all__ = [
    "LEAST_SECRET",
    "LONGEST_TTL",
    "Grant",
    "TokenRefused",
    "make_token",
    "read_token",
    "read_token_of",
]

LEAST_SECRET: Final = 32
"""The fewest characters of a token secret: a shorter one can be guessed from any token."""
LONGEST_TTL: Final = timedelta(hours=24)
"""The longest that a token may be valid; it is meant to be used at once."""
_ALGORITHM: Final = "HS256"
_LONGEST_TOKEN: Final = 8192


class TokenRefused(Exception):
    """A token that opens nothing; the text says why, and nothing of the token."""


class _OtherSecret(TokenRefused):
    """A token whose signature is not of this secret, or that is none at all."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows.

    Attributes:
        customer_id: whose session it will be.
        dimensions: further text by name, for the session's events.
        max_session: the longest that the session may last; None leaves it to the collector.
        token_id: the token's `jti`; empty when it has none.
        single_use: whether it opens one session only.
        until: when the token expires, UTC; a session that is open by then goes on.
    """

    customer_id: str
    dimensions: Mapping[str, str] = field(default_factory=dict)
    max_session: timedelta | None = None
    token_id: str = ""
    single_use: bool = False
    until: datetime | None = None


def make_token(
    secret: str, audience: str, grant: Grant, *, issued_at: datetime, ttl: timedelta
) -> str:
    """Sign a token for one customer.

    Args:
        secret: the collector's `token_secret`.
        audience: the collector's name.
        grant: what it allows; its `token_id` and `until` are made here.
        issued_at: now, UTC.
        ttl: how long it may be used to open a session.

    Raises:
        ConfigurationError: the grant or the ttl cannot be; the text says what is wrong.
    """
    _check(grant, ttl)
    claims: dict[str, Any] = {
        "aud": audience,
        "sub": grant.customer_id,
        "iat": int(issued_at.timestamp()),
        "exp": int((issued_at + ttl).timestamp()),
        "jti": str(uuid.uuid4()),
    }
    if grant.dimensions:
        claims["dimensions"] = dict(grant.dimensions)
    if grant.max_session is not None:
        claims["max_session_seconds"] = int(grant.max_session.total_seconds())
    if grant.single_use:
        claims["single_use"] = True
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)


def _check(grant: Grant, ttl: timedelta) -> None:
    if not grant.customer_id or not _is_text(grant.customer_id):
        raise ConfigurationError("customer_id: expected whose session it will be, as UTF-8 text")
    if not all(_is_text(part) for pair in grant.dimensions.items() for part in pair):
        raise ConfigurationError("dimensions: expected text by name")
    if not timedelta(seconds=1) <= ttl <= LONGEST_TTL:
        raise ConfigurationError("ttl: expected 1 s to 24 h; a token is meant to be used at once")
    longest = grant.max_session
    if longest is not None and not timedelta(seconds=1) <= longest <= LONGEST_SESSION:
        raise ConfigurationError("max_session: expected 1 s to 3 h, AssemblyAI's own limit")


def read_token(token: str, secret: str, audience: str, *, now: datetime) -> Grant:
    """Verify a token and return what it allows.

    Raises:
        TokenRefused: not one of ours, forged, for another collector, expired, or without a
            customer.
    """
    if len(token) > _LONGEST_TOKEN:
        raise TokenRefused("the token is too long")
    try:
        claims = jwt.decode(
            token,
            secret,
            algorithms=[_ALGORITHM],
            audience=audience,
            # The time is checked below, on the clock that meter is given.
            options={
                "require": ["exp", "sub", "aud"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except jwt.MissingRequiredClaimError as error:
        raise TokenRefused(f"the token lacks the claim {error.claim}") from None
    except jwt.InvalidAudienceError:
        raise TokenRefused("the token is for another collector") from None
    except jwt.InvalidTokenError:
        raise _OtherSecret("the token is not valid") from None
    return _grant(claims, now)


def read_token_of(token: str, secrets: Iterable[str], audience: str, *, now: datetime) -> Grant:
    """Verify a token that one of several secrets has signed; see `read_token`.

    Raises:
        TokenRefused: as `read_token`, for the secret that signed it.
    """
    for secret in secrets:
        try:
            return read_token(token, secret, audience, now=now)
        except _OtherSecret:
            continue
    raise TokenRefused("the token is not valid")


def _grant(claims: Mapping[str, Any], now: datetime) -> Grant:
    until = _moment(claims["exp"])
    if until is None:
        raise TokenRefused("the token's exp is no time in Unix seconds")
    if until <= now:
        raise TokenRefused("the token has expired")
    if "nbf" in claims and ((begin := _moment(claims["nbf"])) is None or begin > now):
        raise TokenRefused("the token is not valid yet")
    customer_id, dimensions = claims["sub"], claims.get("dimensions", {})
    if not _is_text(customer_id) or not customer_id:
        raise TokenRefused("the token names no customer")
    if not isinstance(dimensions, dict) or not all(
        _is_text(part) for pair in dimensions.items() for part in pair
    ):
        raise TokenRefused("the token's dimensions are not text by name")
    seconds = claims.get("max_session_seconds")
    if seconds is not None and (
        isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 10**7
    ):
        raise TokenRefused("the token's max_session_seconds is not a number of seconds")
    single_use = claims.get("single_use", False)
    token_id = claims.get("jti", "")
    if not isinstance(single_use, bool) or not _is_text(token_id):
        raise TokenRefused("the token's single_use or jti is not what it should be")
    if single_use and not token_id:
        raise TokenRefused("a single-use token needs the claim jti")
    return Grant(
        customer_id=customer_id,
        dimensions=dimensions,
        max_session=None if seconds is None else timedelta(seconds=seconds),
        token_id=token_id,
        single_use=single_use,
        until=until,
    )


def _is_text(value: object) -> bool:
    """Tell whether it is text that UTF-8 can hold: the journal could not keep anything else."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _moment(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
