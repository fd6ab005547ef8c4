"""One thread that commits what many producers submit, in groups (DESIGN §5).

Producers wait for the commit of their group; the next group gathers while the disk works.
There is no artificial delay: an idle writer commits the first write at once.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from meter.errors import JournalError, JournalUnavailable
from meter.journal import sqlite_events
from meter.journal.records import Recorded, Ticket
from meter.journal.standing import Commits

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.events import Event
    from meter.journal.records import NewReceipt

__all__ = ["GroupWriter"]

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], Any]
_Outcome = tuple[Ticket[Any], Any, BaseException | None]

TURN_SECONDS = 0.001
"""The longest that a small group waits for one turn of the loop whose producers were told."""

_INSERT_RECEIPT = "INSERT INTO receipts (collector, received_at, query, fields) VALUES (?, ?, ?, ?)"


class GroupWriter:
    """The only writer of this process on a SQLite journal."""

    def __init__(self, connection: sqlite3.Connection, path: Path, clock: Clock) -> None:
        """Own the connection from now on; the thread starts with the first write."""
        self._connection = connection
        self._clock = clock
        self._path = path
        self._inode = path.stat().st_ino
        self._queue: list[tuple[Any, Ticket[Any]]] = []
        self._wake = threading.Condition(threading.Lock())
        self._idle = True
        self._closing = False
        self._thread: threading.Thread | None = None
        self.listeners: list[Callable[[], None]] = []
        self.commits = Commits()

    # -- producers -----------------------------------------------------------------------

    def receipt(self, receipt: NewReceipt) -> Ticket[None]:
        """Submit a receipt; receipts of one group are inserted together."""
        return self._submit(receipt)

    def events(self, events: Sequence[Event]) -> Ticket[list[Recorded]]:
        """Submit events; those of one group are inserted together.

        They are encoded here, so that one that cannot be fails its own producer only.
        """
        return self._submit([sqlite_events.row_of(event) for event in events])

    def call(self, operation: Callable[[sqlite3.Connection], T]) -> Ticket[T]:
        """Submit anything else; it runs within the group's transaction, in a savepoint."""
        return self._submit(operation)

    def _submit(self, item: Any) -> Ticket[Any]:
        ticket: Ticket[Any] = Ticket()
        with self._wake:
            if self._closing:
                raise JournalUnavailable("the journal is closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="meter-journal", daemon=True)
                self._thread.start()
            self._queue.append((item, ticket))
            if ticket.loop is None:  # also when a nudge is under way: its loop may be blocked
                self._idle = False
                self._wake.notify()
                return ticket
            if not self._idle:
                return ticket
            self._idle = False
        # Behind what is ready to run in this turn of the loop: other producers that were woken
        # together submit first, and share the commit.
        ticket.loop.call_soon(self._nudge)
        return ticket

    def _nudge(self) -> None:
        with self._wake:
            self._wake.notify()

    def close(self) -> None:
        """Commit what was submitted, then stop the thread and close the connection."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
        self._connection.close()

    # -- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        group: list[tuple[Any, Ticket[Any]]] = []
        told = False
        while True:
            with self._wake:
                if told and 0 < len(self._queue) < len(group):
                    # Fewer wait than were just told: let those come back and share the commit,
                    # or the two cohorts would take turns for ever, each at a commit's cost.
                    self._wake.wait(TURN_SECONDS)
                while not self._queue and not self._closing:
                    self._idle = True
                    self._wake.wait()
                group, self._queue = self._queue, []
                self._idle = False
            if not group:
                return
            recorded, outcomes = self._commit(group)
            told = self._hand_over(outcomes)
            if recorded:
                for listener in self.listeners:
                    listener()

    def _commit(self, group: list[tuple[Any, Ticket[Any]]]) -> tuple[bool, list[_Outcome]]:
        """Run one group as one transaction; on any fault of the store, nothing of it stays."""
        connection = self._connection
        started = time.perf_counter_ns()
        try:
            self.check_file()
            connection.execute("BEGIN IMMEDIATE")
            try:
                recorded, outcomes = self._apply(group)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except Exception as error:  # noqa: BLE001  whatever happened, every producer must hear of it
            refusal = (
                error
                if isinstance(error, JournalError)
                else JournalUnavailable(f"{self._path}: {error}; nothing was stored")
            )
            self.commits.failed += 1
            return False, [(ticket, None, refusal) for _, ticket in group]
        self.commits.nanos.add(time.perf_counter_ns() - started)
        self.commits.writes.add(len(group))
        return recorded, outcomes

    def _apply(self, group: list[tuple[Any, Ticket[Any]]]) -> tuple[bool, list[_Outcome]]:
        connection = self._connection
        outcomes: list[_Outcome] = []
        receipts: list[tuple[Any, ...]] = []
        events: list[sqlite_events.Row] = []
        shares: list[tuple[Ticket[Any], int]] = []
        calls: list[tuple[Operation, Ticket[Any]]] = []
        for item, ticket in group:
            if type(item) is list:
                events += item
                shares.append((ticket, len(item)))
            elif callable(item):
                calls.append((item, ticket))
            else:
                receipts.append(
                    (
                        item.collector,
                        sqlite_events.to_micros(item.received_at),
                        item.query,
                        item.fields,
                    )
                )
                outcomes.append((ticket, None, None))
        if receipts:
            connection.executemany(_INSERT_RECEIPT, receipts)
        recorded = False
        if shares:  # perhaps of nothing: that is answered too
            answers = sqlite_events.insert_rows(connection, events, self._clock.now())
            recorded = Recorded.RECORDED in answers
            start = 0
            for ticket, count in shares:
                outcomes.append((ticket, answers[start : start + count], None))
                start += count
        for operation, ticket in calls:
            outcome = self._guarded(operation, ticket)
            recorded = recorded or outcome[1] is Recorded.RECORDED
            outcomes.append(outcome)
        return recorded, outcomes

    def _guarded(self, operation: Operation, ticket: Ticket[Any]) -> _Outcome:
        """Run one operation so that its own fault undoes it alone."""
        connection = self._connection
        connection.execute("SAVEPOINT operation")
        try:
            result = operation(connection)
        except sqlite3.OperationalError:  # the disk or the file: fails the whole group
            raise
        except Exception as error:  # noqa: BLE001  the submitter gets it, the group goes on
            connection.execute("ROLLBACK TO operation")
            connection.execute("RELEASE operation")
            return ticket, None, error
        connection.execute("RELEASE operation")
        return ticket, result, None

    def _hand_over(self, outcomes: list[_Outcome]) -> bool:
        """Wake the producers: each event loop once, threads one by one; tell if loops were."""
        by_loop: dict[AbstractEventLoop, list[_Outcome]] = {}
        for outcome in outcomes:
            loop = outcome[0].loop
            if loop is None:
                _resolve([outcome])
            elif loop in by_loop:
                by_loop[loop].append(outcome)
            else:
                by_loop[loop] = [outcome]
        for loop, those in by_loop.items():
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._resolve_in, loop, those)
        return bool(by_loop)

    def _resolve_in(self, loop: AbstractEventLoop, outcomes: list[_Outcome]) -> None:
        """Wake a loop's producers, and nudge the writer once they have had their turn."""
        _resolve(outcomes)
        loop.call_soon(self._nudge)

    def check_file(self) -> None:
        """Refuse to use a file that is no longer there.

        A commit would be lost on close; a new connection would void the log that lies there still.

        Raises:
            JournalUnavailable: it was removed or replaced.
        """
        try:
            inode = self._path.stat().st_ino
        except OSError as error:
            raise JournalUnavailable(
                f"{self._path} was removed while meter runs ({error.strerror}); put it back or "
                "restart meter"
            ) from None
        if inode != self._inode:
            raise JournalUnavailable(
                f"{self._path} was replaced while meter runs; restart meter to use the new file"
            )


def _resolve(outcomes: list[_Outcome]) -> None:
    for ticket, result, error in outcomes:
        future = ticket.future
        if future.done():  # cancelled: nobody waits any more
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
