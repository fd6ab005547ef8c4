"""Who may see the page, and who may act on it.

With `server.admin_secret` everybody signs in with it, on this machine too: a proxy on it that
says nothing of whom it asks for would otherwise open the page to the world. Without a secret,
browsers on this machine see the page and cannot act, as long as meter listens to nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from meter.server.access import is_loopback
from meter.server.desk.answers import Headers, redirect
from meter.server.desk.cookies import cookie_of
from meter.server.desk.origins import is_from_another_site, is_https, is_on_this_machine, network
from meter.server.desk.seals import KNOWN_FOR, SIGNED_IN_FOR, Seals, SignIn
from meter.server.desk.tries import Tries

if TYPE_CHECKING:
    from datetime import timedelta

    from meter.clock import Clock
    from meter.config import ServerOptions
    from meter.http import Request, Response

__all__ = ["LOGIN", "Door", "Refused", "Visitor"]

LOGIN: Final = "/desk/login"
MOST_NAME: Final = 64
"""The longest name that a person can give."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who may see the page.

    Attributes:
        sign_in: who it is; None for whoever sits at this machine.
        form_token: what forms carry; empty for those who cannot act.
    """

    sign_in: SignIn | None = None
    form_token: str = ""

    @property
    def who(self) -> str:
        """Who acts, for the record: as people call themselves, and by which way."""
        return "" if self.sign_in is None else f"{self.sign_in.name}@page"


@dataclass(frozen=True, slots=True)
class Refused:
    """Somebody who may not, and the answer: where to go, or a page's name and why."""

    answer: Response | None = None
    why: str = ""


class Door:
    """Lets people in."""

    def __init__(self, options: ServerOptions, *, journal_id: str, clock: Clock) -> None:
        """Know the secret, if there is one; cookies of two meters on one host do not mix."""
        secret = options.admin_secret
        self._seals = None if secret is None else Seals(secret, journal_id, clock)
        self._tries = Tries(clock)
        self._listens_to_all = not (options.host == "localhost" or is_loopback(options.host))
        self._cookie: Final = f"meter-desk-{journal_id[:8]}"
        self._known: Final = f"meter-known-{journal_id[:8]}"

    @property
    def has_login(self) -> bool:
        """Tell whether people can sign in."""
        return self._seals is not None

    def visitor(self, request: Request, path: str) -> Visitor | Refused:
        """Tell who it is, or how to answer who may not see the page."""
        if self._seals is None:
            if self._listens_to_all or not is_on_this_machine(request):
                return Refused(why="off")
            return Visitor()
        sign_in = self._sign_in(request)
        if sign_in is not None:
            return Visitor(sign_in, self._seals.form_token(sign_in))
        if request.header(b"sec-fetch-site") == b"cross-site":
            # The cookie does not come along from a link elsewhere; it does from a page of ours.
            return Refused(why="again")
        query = request.query.decode("latin-1")
        back = quote(path + (f"?{query}" if query else ""), safe="")
        return Refused(redirect(LOGIN if back == "%2F" else f"{LOGIN}?next={back}"))

    def may_act(self, visitor: Visitor, request: Request, token: str) -> bool:
        """Tell whether a form was filled in by this visitor, on a page of ours."""
        return (
            self._seals is not None
            and visitor.sign_in is not None
            and not is_from_another_site(request)
            and self._seals.is_form_token(visitor.sign_in, token)
        )

    def knows(self, request: Request) -> bool:
        """Tell whether a browser was signed in once."""
        return self._browser(request) is not None

    def wait(self, request: Request) -> float:
        """Take one of somebody's tries; answer 0, or the seconds until the next one is free."""
        return self._tries.wait(self._browser(request) or network(request))

    def sign_in(self, request: Request, secret: str, name: str) -> Headers | None:
        """Take a secret that somebody tries, whose turn it is.

        Returns:
            The cookies of a sign-in, or None when it is wrong.
        """
        seals = self._seals
        if seals is None or is_from_another_site(request) or not seals.is_secret(secret):
            return None
        self._tries.forget(self._browser(request) or network(request))
        return (
            self._set(request, self._cookie, seals.signed_in(name), SIGNED_IN_FOR),
            self._set(request, self._known, seals.known(), KNOWN_FOR),
        )

    def sign_out(self, request: Request) -> Headers:
        """End a sign-in; answer the cookie that takes the place of its own."""
        sign_in = self._sign_in(request)
        if self._seals is not None and sign_in is not None:
            self._seals.end(sign_in)
        return (self._set(request, self._cookie, "", None),)

    def _sign_in(self, request: Request) -> SignIn | None:
        given = cookie_of(request, self._cookie)
        return None if self._seals is None or not given else self._seals.sign_in(given)

    def _browser(self, request: Request) -> str | None:
        seals = self._seals
        return None if seals is None else seals.known_browser(cookie_of(request, self._known))

    def _set(
        self, request: Request, name: str, value: str, lasts: timedelta | None
    ) -> tuple[bytes, bytes]:
        seconds = 0 if lasts is None else int(lasts.total_seconds())
        secure = "; Secure" if is_https(request) else ""
        text = f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
        return b"set-cookie", text.encode("ascii")
