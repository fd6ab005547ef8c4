"""Which Stripe customer a customer is: from a file, from Stripe's metadata, or the same id.

Nobody is guessed: a customer who is not known, or not for certain, is `Unmapped`, and the usage is
held until a line in the file, or a correction at Stripe, frees it.
"""

from __future__ import annotations

import os
import stat
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from meter.errors import RetryableSinkError, SinkError
from meter_stripe.mapping_file import (
    BadMapping,
    read_mapping,
    shown,
    shown_plainly,
    stripe_id_fault,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from meter_stripe.options import StripeOptions

__all__ = ["Customers", "Unmapped", "customers_for"]

LOOK_EVERY: Final = timedelta(seconds=1)
"""How often a file is looked at."""
ASK_EVERY: Final = timedelta(minutes=1)
"""How often Stripe is asked for its customers at most, while somebody unknown is waiting."""
_SETTLED_NS: Final = 2_000_000_000
"""How old a file's last change must be, in ns, for its times to tell the next one apart."""

_Known: TypeAlias = "tuple[dict[str, str], dict[str, list[str]]]"
"""Customers that one Stripe customer carries, and those that several carry."""


class Unmapped(Exception):
    """A customer has no Stripe customer yet, or more than one; the text says what to do.

    It is one short line, and the same one for the same customer and cause, whatever the
    customer's id is made of.
    """


class Customers(Protocol):
    """Knows every customer's Stripe customer. Nothing is read before the first `refresh`.

    `refresh` belongs to one thread; the others may be called from any.

    Attributes:
        trouble: why the latest refresh changed nothing though it should have looked, in one
            line; None when all is well. What was known before stays in use.
    """

    @property
    def trouble(self) -> str | None: ...  # noqa: D102  because the class describes it

    def find(self, customer_id: str) -> str:
        """Return the Stripe customer's id.

        Raises:
            Unmapped: there is none, or none for certain.
            RetryableSinkError: nothing was read yet.
        """

    def refresh(self, now: datetime) -> bool:
        """Look again if it is time, and return whether anything changed.

        Args:
            now: the present moment, aware, in UTC.

        Raises:
            SinkError: there is nothing to go by yet: the file cannot be used, or Stripe not be
                asked. Once something was read, `trouble` says so instead.
        """

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Iterate over every customer id and its Stripe id, as of the latest refresh.

        Nothing with `passthrough`, where any id may come.

        Raises:
            RetryableSinkError: nothing was read yet.
        """


class StripeCustomer(Protocol):
    """What is needed of a Stripe customer; `client.CustomerInfo` is one."""

    @property
    def id(self) -> str: ...

    @property
    def metadata(self) -> Mapping[str, str]: ...


class CustomersApi(Protocol):
    """What is needed of Stripe; `client.StripeApi` is one."""

    def customers(self) -> Iterable[StripeCustomer]:
        """Return all of the account's customers.

        Raises:
            SinkError: Stripe cannot be asked, now or with this key.
        """


def customers_for(
    options: StripeOptions,
    api_factory: Callable[[], CustomersApi],
    *,
    stopping: Callable[[], bool] = lambda: False,
) -> Customers:
    """Return what the option `customers` asks for; touches nothing yet.

    Args:
        options: of the sink.
        api_factory: called once, when Stripe's customers are first needed.
        stopping: tells that meter wants to end, so that many pages of customers are left unread.
    """
    source = options.customers
    if source == "passthrough":
        return Passthrough()
    if source.file is not None:
        return FromFile(source.file)
    if source.metadata is not None:
        return FromMetadata(source.metadata, source.refresh, api_factory, stopping)
    raise AssertionError("the options model asks for a file or a metadata key")


class Passthrough:
    """The customer id is the Stripe customer's id."""

    trouble: str | None = None

    def find(self, customer_id: str) -> str:
        """Return the id itself, if Stripe could have made it."""
        if fault := stripe_id_fault(customer_id):
            raise Unmapped(
                f"customer {shown(customer_id)} cannot be a Stripe customer: the id {fault}; with "
                "`customers: passthrough` it must be Stripe's own, otherwise name a file"
            )
        return customer_id

    def refresh(self, now: datetime) -> bool:
        """Do nothing: there is nothing to look at."""
        del now
        return False

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Return none: any id may come."""
        return iter(())


class FromFile:
    """Customers by a file, read again when it changes.

    A file with faults is never used in part. It raises a `RetryableSinkError`, not a fatal one:
    meter tries again by itself, so that correcting the file is all there is to do.

    A program that writes it should replace it in one step (write another file, then rename it):
    a half that lies there for a second is read as if it were all.
    """

    def __init__(self, path: Path) -> None:
        self.trouble: str | None = None
        self._path = path.absolute()
        self._pairs: dict[str, str] | None = None
        self._looked: datetime | None = None
        self._seen: tuple[int, ...] | None = None

    def find(self, customer_id: str) -> str:
        """Return the Stripe customer's id by the file as it was last read."""
        found = self._known().get(customer_id)
        if found is None:
            raise Unmapped(
                f"customer {shown(customer_id)} has no Stripe customer in "
                f"{shown_plainly(self._path.name)}; add a line for it, meter reads the file again "
                "by itself"
            )
        return found

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Iterate over the file's lines."""
        return iter(self._known().items())

    def refresh(self, now: datetime) -> bool:
        """Look at the file once a second, and read it when it is another."""
        if not _due(self._looked, now, LOOK_EVERY):
            return False
        before = self._pairs
        try:
            self._read()
        except OSError as error:
            self._seen, self.trouble = None, self._unreadable(error)
        except BadMapping as error:
            self.trouble = str(error)
        if self._pairs is None:
            # Not `_looked`: who opens the sink again wants to know how the file is now.
            raise RetryableSinkError(self.trouble or self._unreadable(None))
        self._looked = now
        return self._pairs is not before and self._pairs != before

    def _read(self) -> None:
        status = self._path.stat()
        if self._seen == _signature(status):
            return
        if not stat.S_ISREG(status.st_mode):
            raise OSError(None, "it is no file")  # and a pipe would never end
        with self._path.open("rb") as file:
            status = os.fstat(file.fileno())
            # A file's times are the machine's, whatever clock meter was given. Two changes
            # within one tick look alike, so that a fresh one is read again a little later.
            fresh = 0 <= time.time_ns() - status.st_mtime_ns < _SETTLED_NS
            self._seen = None if fresh else _signature(status)
            pairs = read_mapping(self._path, file.read())
            after = os.fstat(file.fileno())
        if (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            self._seen = None
            raise OSError(None, "it was written to while meter read it")
        self._pairs, self.trouble = pairs, None

    def _known(self) -> dict[str, str]:
        if self._pairs is None:
            raise RetryableSinkError(self.trouble or self._unreadable(None))
        return self._pairs

    def _unreadable(self, error: OSError | None) -> str:
        where = shown_plainly(str(self._path))
        if isinstance(error, FileNotFoundError):
            return (
                f"there is no customers file {where}; write a line for each customer there, such "
                "as `acme: cus_123`; a relative path starts at the folder of the pipelines file"
            )
        why = "it was not read yet" if error is None else error.strerror or type(error).__name__
        return f"the customers file {where} cannot be read: {why}; meter tries again by itself"


class FromMetadata:
    """Customers by what stands in the metadata of Stripe's customers."""

    def __init__(
        self,
        key: str,
        interval: timedelta,
        api_factory: Callable[[], CustomersApi],
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.trouble: str | None = None
        self._key = key
        self._interval = interval
        self._api_factory = api_factory
        self._api: CustomersApi | None = None
        self._stopping = stopping
        self._known: _Known | None = None
        self._asked: datetime | None = None
        self._pause = interval
        self._missed = False

    def find(self, customer_id: str) -> str:
        """Return the one Stripe customer's id that carries this customer's."""
        certain, several = self._read()
        found = certain.get(customer_id)
        if found is not None:
            return found
        self._missed = True
        if customer_id not in several:
            raise Unmapped(
                f"no Stripe customer has customer {shown(customer_id)} as its metadata "
                f"{shown(self._key)}; add it at Stripe, meter looks again by itself"
            )
        one, other, *rest = map(shown_plainly, several[customer_id])
        more = f" and {len(rest):,} more" if rest else ""
        raise Unmapped(
            f"several Stripe customers have customer {shown(customer_id)} as their metadata "
            f"{shown(self._key)}: {one}, {other}{more}; leave it on one of them, meter looks again "
            "by itself"
        )

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Iterate over those that exactly one Stripe customer carries."""
        return iter(self._read()[0].items())

    def refresh(self, now: datetime) -> bool:
        """Ask Stripe at the interval; after a minute, if somebody unknown was asked for."""
        pause = self._pause
        if self._missed and self.trouble is None:  # with trouble, the pause is Stripe's own wish
            pause = min(pause, ASK_EVERY)
        if self._known is not None and not _due(self._asked, now, pause):
            return False
        before = self._known
        self._asked, self._missed, self._pause = now, False, self._interval
        try:
            self._known = self._fetch()
        except SinkError as error:
            words = " ".join(str(error).split())
            self.trouble = f"Stripe's customers could not be read: {words}"
            if before is None:
                raise
            wait = (error.retry_after or 0) if isinstance(error, RetryableSinkError) else 0
            self._pause = max(ASK_EVERY, timedelta(seconds=wait))
            return False
        self.trouble = None
        return self._known != before

    def _fetch(self) -> _Known:
        # Lazily, since the SDK is heavy, and needed for this source only.
        from meter_stripe.client import StripeRefused

        try:
            return self._gather()
        except StripeRefused as error:
            # Also when the last customer of a page was deleted before the next was asked for.
            raise RetryableSinkError(str(error)) from error

    def _gather(self) -> _Known:
        if self._api is None:
            self._api = self._api_factory()
        certain: dict[str, str] = {}
        several: dict[str, set[str]] = {}
        for customer in self._api.customers():
            if self._stopping():
                raise RetryableSinkError("meter is ending; the rest of the pages was left unread")
            if value := customer.metadata.get(self._key):
                first = certain.setdefault(value, customer.id)
                if first != customer.id:
                    several.setdefault(value, {first}).add(customer.id)
        for value in several:
            del certain[value]
        return certain, {value: sorted(ids) for value, ids in several.items()}

    def _read(self) -> _Known:
        if self._known is None:
            raise RetryableSinkError(self.trouble or "Stripe's customers were not read yet")
        return self._known


def _due(last: datetime | None, now: datetime, pause: timedelta) -> bool:
    """Tell whether it is time again; also when the clock was set back."""
    return last is None or not timedelta() <= now - last < pause


def _signature(status: os.stat_result) -> tuple[int, ...]:
    # The time of the inode as well: it also moves when a copy keeps the file's own time.
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
