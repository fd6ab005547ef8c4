"""The addresses of the operator's page: who may see each, what it shows, and in which form."""

from __future__ import annotations

import asyncio
import logging
import math
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

from meter.errors import JournalError
from meter.http import Response, Route
from meter.reports.running_sums import RunningSums
from meter.server.desk.acts import ActDesk, Refusal, done_words
from meter.server.desk.answers import STATIC, html, redirect, static
from meter.server.desk.asking import Asked
from meter.server.desk.door import LOGIN, MOST_NAME, Door, Refused, Visitor
from meter.server.desk.forms import MOST_SIGN_IN, Unreadable, form_of, query_of
from meter.server.desk.origins import is_from_another_site
from meter.server.desk.pages import Page, Pages, Shown
from meter.server.desk.reader import Busy, Reader
from meter.server.desk.rendering import Templates
from meter.server.desk.sources import Sources
from meter.server.desk.words import address, shown

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.collectors.intake import Intake
    from meter.config import Config
    from meter.http import Request
    from meter.journal import Journal
    from meter.server.app import App
    from meter.server.desk.forms import Given

__all__ = ["OperatorDesk"]

_log = logging.getLogger("meter.server")

_SOON: Final = ((b"retry-after", b"2"),)
_EVERY: Final = ("10", "30", "60")
"""How often a page may load itself again where there is no JavaScript, seconds."""
_NAMES: Final = frozenset(
    {"after", "before", "done", "every", "from", "id", "limit", "month", "q", "sink", "state"}
)
"""What an address may say; nothing else is passed on to a page."""
_SMALL: Final = ("bare", "base", "parts", "login", "again", "off", "said")
"""The templates of pages that are made on the spot, and what those are made of."""
MOST_SIGNING_IN: Final = 8
"""How many forms of people who sign in may be under way; who was signed in once is not counted."""
_MOST_BACK: Final = 2048
"""How long an address may be that somebody comes back to, so that it fits into the form."""


class OperatorDesk:
    """The page of one run.

    Attributes:
        app: the application whose journal is looked after; set once it is made.
    """

    app: App | None = None

    def __init__(
        self,
        config: Config,
        *,
        journal: Journal,
        clock: Clock,
        intake: Intake,
        hanging: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        """Stand ready; nothing is read before somebody looks.

        Args:
            config: the pipelines file.
            journal: what is looked at.
            clock: tells the time.
            intake: where events go that somebody assigns.
            hanging: names the sinks that have not come back from a call.
        """
        asked = Asked(config.sinks, journal=journal, clock=clock)
        self._sources = Sources(config, journal, clock, asked, RunningSums(journal), hanging)
        self._door = Door(config.server, journal_id=journal.journal_id, clock=clock)
        self._reader = Reader(clock)
        self._templates = Templates()
        self._pages = Pages(self._sources)
        self._acts = ActDesk(self._sources, intake)
        self._version = version("usage-meter")
        self._loading = asyncio.Lock()
        self._signing_in = 0

    def routes(self) -> list[Route]:
        """Return where it answers."""
        shown_ = [
            Route("GET", path, partial(self._guarded, path, partial(self._show, path, make)))
            for path, make in self._pages.by_path.items()
        ]
        files = [Route("GET", path, partial(self._file, path)) for path in STATIC]
        return [
            *shown_,
            *files,
            Route("GET", LOGIN, self._login),
            Route("POST", LOGIN, self._sign_in),
            Route("POST", "/desk/logout", self._sign_out),
            Route("POST", "/desk/act", partial(self._guarded, "/", self._act)),
        ]

    def close(self) -> None:
        """Let go of the threads."""
        self._reader.close()

    # -- what is shown -----------------------------------------------------------------------

    async def _guarded(
        self, path: str, view: Callable[[Request, Visitor], Awaitable[Response]], request: Request
    ) -> Response:
        """Let a view answer, to those who may see it; say in words what stands in its way."""
        visitor = self._door.visitor(request, path)
        if isinstance(visitor, Refused):
            return visitor.answer or await self._refused(visitor.why)
        try:
            return await view(request, visitor)
        except Unreadable as error:
            return await self._say(error.status, visitor, error.words)
        except Busy:
            return _busy("Too much is being asked at once. Load the page again in a moment.")
        except (JournalError, sqlite3.Error) as error:
            _log.warning("desk.no_journal", extra={"error": str(error)})
            words = f"The journal cannot be read: {shown(error, 500)}"
            return await self._say(503, visitor, words, _SOON)

    async def _show(
        self, path: str, make: Callable[[Given], Page], request: Request, visitor: Visitor
    ) -> Response:
        query = query_of(request)
        page = make(query)
        found = await self._reader.ask(page.key, page.read)
        if isinstance(found, str):
            return redirect(found)
        if not isinstance(found, Shown):
            return await self._say(404, visitor, "There is nothing of that name in this journal.")
        why = None
        if path == "/" and self.app is not None:
            why = await self.app.health.unwritable()
        every = query.get("every", "")
        return await self._render(
            200,
            found.template,
            visitor,
            title=found.title,
            view=found.view,
            path=path,
            query={name: text for name, text in query.items() if name in _NAMES},
            done=done_words(query.get("done", ""), found.view, query.get("sink", "")),
            unwritable=why,
            every=every if every in _EVERY else "",
        )

    async def _file(self, path: str, request: Request) -> Response:
        del request
        return static(path)

    # -- what is done -------------------------------------------------------------------------

    async def _act(self, request: Request, visitor: Visitor) -> Response:
        form = {} if visitor.sign_in is None else await form_of(request)
        if not self._door.may_act(visitor, request, form.get("token", "")):
            words = "That form is not of this sign-in. Nothing was done: go back and try again."
            return await self._say(403, visitor, words)
        try:
            if form.get("act") == "assign" and form.get("sure") != "yes":
                return await self._confirm(form, visitor)
            where = await self._acts.do(form, visitor.who)
        except Refusal as refusal:
            return await self._say(409, visitor, f"Nothing was done: {refusal}.")
        finally:
            self._reader.forget()
        return redirect(where)

    async def _confirm(self, form: Given, visitor: Visitor) -> Response:
        """Ask once more before something is recorded for ever."""
        entry = self._acts.entry(form.get("entry", ""))
        customer = form.get("customer", "")
        if not customer:
            raise Refusal("say whose it is")
        is_known = await self._reader.run(lambda: self._pages.has_customer(customer))
        given: dict[str, Any] = {"entry": entry, "customer": customer, "is_known": is_known}
        return await self._render(
            200, "confirm", visitor, title="Assign", reason=form.get("reason", ""), **given
        )

    # -- signing in and out -----------------------------------------------------------------

    async def _login(self, request: Request) -> Response:
        if not self._door.has_login:
            return redirect("/")
        if not isinstance(self._door.visitor(request, LOGIN), Refused):
            return redirect("/")
        try:
            back = query_of(request).get("next", "")
        except Unreadable:
            back = ""
        return await self._ask_secret(200, self._own(back))

    async def _sign_in(self, request: Request) -> Response:
        if not self._door.has_login:
            return await self._refused("off")
        form = await self._sign_in_form(request)
        if isinstance(form, Response):
            return form
        name = shown(form.get("name", "").strip() or "operator", MOST_NAME)[:MOST_NAME]
        back = self._own(form.get("next", ""))
        cookies = self._door.sign_in(request, form.get("secret", ""), name)
        if cookies is None:
            return await self._ask_secret(401, back, "That is not the secret.", name=name)
        _log.info("desk.signed_in", extra={"who": name})
        return redirect(back, cookies)

    async def _sign_in_form(self, request: Request) -> Given | Response:
        """Read the form of somebody who may be anybody; what is refused is not even read."""
        if is_from_another_site(request):
            return await self._ask_secret(401, "/", "That is not the secret.")
        known = self._door.knows(request)
        if not known and self._signing_in >= MOST_SIGNING_IN:
            return _busy("Too many sign in at once. Go back and try again in a moment.")
        if seconds := math.ceil(self._door.wait(request)):
            words = f"Too many tries. The next one is free in {seconds} seconds."
            wait = ((b"retry-after", b"%d" % seconds),)
            return await self._ask_secret(429, "/", words, headers=wait)
        self._signing_in += not known
        try:
            return await form_of(request, MOST_SIGN_IN)
        except Unreadable as error:
            return await self._ask_secret(error.status, "/", error.words)
        finally:
            self._signing_in -= not known

    async def _sign_out(self, request: Request) -> Response:
        visitor = self._door.visitor(request, "/")
        if isinstance(visitor, Refused):
            return redirect(LOGIN)
        try:
            token = (await form_of(request)).get("token", "")
        except Unreadable:
            token = ""
        if not self._door.may_act(visitor, request, token):
            return redirect("/")
        return redirect(LOGIN, self._door.sign_out(request))

    def _own(self, back: str) -> str:
        """Return an address to go back to: one of our own pages, or the first."""
        try:
            parts = urlsplit(back)
        except ValueError:
            return "/"
        if parts.scheme or parts.netloc or parts.path not in self._pages.by_path:
            return "/"
        own = address(parts.path, **dict(parse_qsl(parts.query, errors="replace")))
        return own if len(own) <= _MOST_BACK else "/"

    # -- pages ----------------------------------------------------------------------------------

    async def _ask_secret(
        self,
        status: int,
        back: str,
        wrong: str = "",
        *,
        name: str = "",
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> Response:
        given = {"title": "Sign in", "next": back, "wrong": wrong, "name": name}
        return html(status, await self._made("login", **given), headers)

    async def _refused(self, why: str) -> Response:
        status, template = {"again": (200, "again"), "off": (403, "off")}[why]
        given = {"title": "meter", "has_login": self._door.has_login}
        return html(status, await self._made(template, **given))

    async def _made(self, template: str, **given: Any) -> str:
        """Make a small page on the spot: it waits for no question, and takes no question's place.

        Only the first one waits, for the templates to be read.
        """
        if not self._templates.is_loaded:
            async with self._loading:
                await asyncio.to_thread(self._templates.load, *_SMALL)
        return self._templates.page(template, **given)

    async def _say(
        self,
        status: int,
        visitor: Visitor,
        words: str,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> Response:
        given = self._common(visitor) | {"title": "meter", "words": words}
        return html(status, await self._made("said", **given), headers)

    async def _render(
        self,
        status: int,
        template: str,
        visitor: Visitor,
        **given: Any,
    ) -> Response:
        together = self._common(visitor) | given
        return html(
            status, await self._reader.run(lambda: self._templates.page(template, **together))
        )

    def _common(self, visitor: Visitor) -> dict[str, Any]:
        return {
            "visitor": visitor,
            "has_login": self._door.has_login,
            "file": self._sources.file,
            "version": self._version,
            "now": self._sources.clock.now(),
            "path": "",
            "query": {},
            "done": "",
            "every": "",
        }


def _busy(words: str) -> Response:
    return html(503, f"<!doctype html><title>Busy</title><p>{words}</p>", _SOON)
