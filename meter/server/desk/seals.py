"""What a browser keeps of a sign-in: signed, with an end, and worthless with another secret."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import jwt

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.sinks import Secret

__all__ = ["SIGNED_IN_FOR", "Seals", "SignIn"]

SIGNED_IN_FOR: Final = timedelta(hours=12)
"""How long a sign-in holds."""
KNOWN_FOR: Final = timedelta(days=180)
"""How long a browser is known that was signed in once."""
_ALGORITHM: Final = "HS256"
_MOST_ENDED: Final = 10_000


@dataclass(frozen=True, slots=True)
class SignIn:
    """A person who gave the secret.

    Attributes:
        number: names the sign-in.
        name: how the person wants to be called.
        until: when it ends, in seconds since 1970.
    """

    number: str
    name: str
    until: int


class Seals:
    """Makes and reads the signed values of one journal's page."""

    def __init__(self, secret: Secret, journal_id: str, clock: Clock) -> None:
        """Derive a key of our own: whoever learns a signed value learns nothing of the secret."""
        given = secret.get_secret_value().encode()
        self._key: Final = hmac.digest(given, f"meter desk {journal_id}".encode(), "sha256")
        self._digest: Final = hashlib.sha256(given).digest()
        self._clock = clock
        self._ended: dict[str, int] = {}

    def is_secret(self, given: str) -> bool:
        """Tell whether this is the secret, in constant time."""
        digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest()
        return hmac.compare_digest(digest, self._digest)

    # -- signing in and out ----------------------------------------------------------------

    def signed_in(self, name: str) -> str:
        """Return what a browser sends from now on."""
        return self._sealed("sign-in", SIGNED_IN_FOR, sub=name)

    def sign_in(self, given: str) -> SignIn | None:
        """Read it back; None when it is none of ours, has ended, or was ended."""
        claims = self._opened("sign-in", given)
        if claims is None or claims["jti"] in self._ended:
            return None
        return SignIn(claims["jti"], claims["sub"], claims["exp"])

    def end(self, sign_in: SignIn) -> None:
        """End a sign-in before its time, for as long as this process lives."""
        now = int(self._clock.now().timestamp())
        self._ended = {number: at for number, at in self._ended.items() if at > now}
        while len(self._ended) >= _MOST_ENDED:  # only who has the secret gets here
            del self._ended[next(iter(self._ended))]
        self._ended[sign_in.number] = sign_in.until

    # -- forms -----------------------------------------------------------------------------

    def form_token(self, sign_in: SignIn) -> str:
        """Return what forms of this sign-in carry, so that no other site can fill them in."""
        return hmac.new(self._key, f"form {sign_in.number}".encode(), "sha256").hexdigest()

    def is_form_token(self, sign_in: SignIn, given: str) -> bool:
        """Tell whether a form is one of this sign-in, in constant time."""
        return hmac.compare_digest(self.form_token(sign_in).encode(), given.encode())

    # -- browsers that were signed in once ---------------------------------------------------

    def known(self) -> str:
        """Return what a browser that signed in keeps for long; it opens nothing."""
        return self._sealed("known", KNOWN_FOR)

    def known_browser(self, given: str) -> str | None:
        """Name a browser that was signed in once, or None."""
        claims = self._opened("known", given)
        return None if claims is None else claims["jti"]

    def _sealed(self, purpose: str, lasts: timedelta, **claims: str) -> str:
        until = int((self._clock.now() + lasts).timestamp())
        given = {"aud": purpose, "jti": secrets.token_hex(16), "exp": until, **claims}
        return jwt.encode(given, self._key, _ALGORITHM)

    def _opened(self, purpose: str, given: str) -> dict[str, Any] | None:
        try:
            claims: dict[str, Any] = jwt.decode(
                given,
                self._key,
                algorithms=[_ALGORITHM],
                audience=purpose,
                options={"require": ["aud", "jti", "exp"], "verify_exp": False},
            )
        except jwt.InvalidTokenError:
            return None
        return claims if claims["exp"] > self._clock.now().timestamp() else None
