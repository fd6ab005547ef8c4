"""What each address shows: read from the query, collected in a thread, and put in a template."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from zoneinfo import ZoneInfo

from meter.reports.usage import Question, usage
from meter.server.desk import aside_view, lists
from meter.server.desk.event_view import event_of
from meter.server.desk.finding import found_for
from meter.server.desk.overview import overview_of
from meter.server.desk.periods import Period, period_of
from meter.server.desk.usage_view import UsageView, usage_of

if TYPE_CHECKING:
    from meter.journal import Session
    from meter.server.desk.forms import Given
    from meter.server.desk.sources import Sources

__all__ = ["Page", "Pages", "Shown"]

CUSTOMERS: Final = 500
_MOST_QUERY: Final = 20_000
_UTC: Final = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a template is to show."""

    template: str
    title: str
    view: Any


Read: TypeAlias = Shown | str | None
"""What is shown, or the address where it is, or None when there is none."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page that is asked for.

    Attributes:
        key: equal for equal pages.
        read: collects it, in a thread.
    """

    key: Hashable
    read: Callable[[], Read]


@dataclass(frozen=True, slots=True)
class CustomerView:
    """One customer: usage by day, kind and model, open sessions, and the newest events."""

    customer: str
    usage: UsageView
    models: UsageView
    sessions: list[Session]
    events: lists.EventsView


class Pages:
    """The pages of one run.

    Attributes:
        by_path: what makes the page at each address of what its query says.
    """

    def __init__(self, sources: Sources) -> None:
        """Read from these."""
        self._sources = sources
        self.by_path: Final[dict[str, Callable[[Given], Page]]] = {
            "/": self._overview,
            "/desk/customers": self._customers,
            "/desk/customer": self._customer,
            "/desk/events": self._events,
            "/desk/event": self._event,
            "/desk/sessions": self._sessions,
            "/desk/session": self._session,
            "/desk/letters": self._letters,
            "/desk/quarantine": self._quarantine,
            "/desk/entry": self._entry,
            "/desk/acts": self._acts,
            "/desk/search": self._search,
        }

    def has_customer(self, customer: str) -> bool:
        """Tell whether somebody of this name has ever used anything."""
        question = Question(by=("customer",), zone=_UTC, customers=frozenset({customer}))
        return bool(usage(self._sources.journal, question))

    def _period(self, given: Given) -> Period:
        return period_of(given.get("month", ""), self._sources.clock.now().date())

    def _overview(self, given: Given) -> Page:
        period = self._period(given)
        return Page(
            ("overview", period),
            lambda: Shown("overview", "Overview", overview_of(self._sources, period)),
        )

    def _customers(self, given: Given) -> Page:
        period = self._period(given)
        return Page(
            ("customers", period),
            lambda: Shown(
                "customers", "Customers", usage_of(self._sources, period, most=CUSTOMERS)
            ),
        )

    def _customer(self, given: Given) -> Page:
        period, customer = self._period(given), given.get("id", "")[:_MOST_QUERY]
        before = _number(given.get("before", ""))

        def read() -> Read:
            sources = self._sources
            opened = sources.journal.sessions.list(
                states=("open",), customer_id=customer, limit=lists.PAGE
            )
            return Shown(
                "customer",
                "Customer",
                CustomerView(
                    customer,
                    usage_of(sources, period, by="kind", customer=customer, most=CUSTOMERS),
                    usage_of(sources, period, by="model", customer=customer, most=CUSTOMERS),
                    list(opened),
                    lists.events_of(sources, customer=customer, before=before),
                ),
            )

        return Page(("customer", customer, period, before), read)

    def _events(self, given: Given) -> Page:
        before = _number(given.get("before", ""))
        return Page(
            ("events", before),
            lambda: Shown(
                "events", "Events", lists.events_of(self._sources, customer=None, before=before)
            ),
        )

    def _event(self, given: Given) -> Page:
        event_id = given.get("id", "")[:_MOST_QUERY]

        def read() -> Read:
            stored = self._sources.journal.locate(event_id)
            if stored is None:
                return None
            return Shown("event", "Event", event_of(self._sources, stored))

        return Page(("event", event_id), read)

    def _sessions(self, given: Given) -> Page:
        only_open = given.get("state") != "all"
        return Page(
            ("sessions", only_open),
            lambda: Shown(
                "sessions", "Sessions", lists.sessions_of(self._sources, only_open=only_open)
            ),
        )

    def _session(self, given: Given) -> Page:
        session_id = given.get("id", "")[:_MOST_QUERY]

        def read() -> Read:
            session = self._sources.journal.sessions.find(session_id)
            if session is None:
                return None
            return Shown("session", "Session", lists.session_of(self._sources, session))

        return Page(("session", session_id), read)

    def _letters(self, given: Given) -> Page:
        state = given.get("state", "")
        state = state if state in lists.LETTERS else "dead"
        sink = given.get("sink", "")
        sink = sink if sink in self._sources.config.sinks else ""
        after = given.get("from", "")[:100], _number(given.get("after", ""))
        return Page(
            ("letters", state, sink, after),
            lambda: Shown(
                "letters",
                lists.LETTERS[state],
                lists.letters_of(self._sources, state=state, sink=sink, after=after),
            ),
        )

    def _quarantine(self, given: Given) -> Page:
        states = {str(state): state for state in aside_view.STATES}
        state = states.get(given.get("state", ""), "open")
        limit = _number(given.get("limit", ""))
        return Page(
            ("quarantine", state, limit),
            lambda: Shown(
                "quarantine", "Quarantine", aside_view.entries_of(self._sources, state, limit)
            ),
        )

    def _entry(self, given: Given) -> Page:
        number = _number(given.get("id", ""))

        def read() -> Read:
            entry = self._sources.journal.aside.find(number)
            if entry is None:
                return None
            return Shown("entry", f"Quarantine {number}", aside_view.entry_of(self._sources, entry))

        return Page(("entry", number), read)

    def _acts(self, given: Given) -> Page:
        del given
        most = lists.PAGE * 2
        return Page(
            ("acts",), lambda: Shown("acts", "Acts", self._sources.journal.acts.newest(most))
        )

    def _search(self, given: Given) -> Page:
        query = given.get("q", "")[:_MOST_QUERY]

        def read() -> Read:
            if not query:
                return "/"
            found = found_for(self._sources, query)
            if not found.query:
                return "/"
            if len(found.hits) == 1:
                return found.hits[0].href
            return Shown("search", "Search", found)

        return Page(("search", query), read)


def _number(text: str) -> int:
    """Read a number that an address carries; 0 for what is none."""
    known = text.isascii() and text.isdecimal() and len(text) < len(str(2**63))
    return int(text) if known else 0
