"""What every group of a sink's cases stands on: the fixtures, and what is done over and over."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from meter.sinks import Guarantee, Sink
from meter.testing.bench import SinkBench
from meter.testing.bounds import bounded
from meter.testing.case import Kit, require
from meter.testing.children import Children, nursery_of
from meter.testing.clock import FakeClock
from meter.testing.events import some_events
from meter.testing.rows import Row, differences, missing
from meter.testing.site import Site, sink_class_of

if TYPE_CHECKING:
    from meter.events import Event
    from meter.testing.faults import FaultInjector

__all__ = ["ReadBack", "SinkCases"]

ReadBack = Callable[[], Iterable[Row]]


class SinkCases(Kit):
    """The fixtures of `SinkConformance`.

    Attributes:
        customers: whose the ordinary events are; customers that the destination knows.
        seed: other seeds draw other events, faults and moments to die.
        kill_points: how many places inside the sink's own code it is killed at.
        child_seconds: how long one child process may take.
        case_seconds: how long one case may take, so that a sink that waits for ever is named.
        ago: how long ago the latest of the ordinary events occurred; for a destination that has
            little room for usage of this very hour.
        unit_seconds: the seconds of one unit, for a destination that only keeps sums, and these
            in whole units: sums are compared rounded down to it. Not by `test_seconds_are_exact`:
            the sink exempts that one, so that its users read where the rest of a unit is.
    """

    customers: ClassVar[Sequence[str]] = ("acme", "globex", "initech")
    seed: ClassVar[int] = 1
    kill_points: ClassVar[int] = 10
    child_seconds: ClassVar[float] = 60.0
    case_seconds: ClassVar[float] = 300.0
    ago: ClassVar[timedelta] = timedelta(0)
    unit_seconds: ClassVar[Decimal | None] = None

    sink_class: type[Sink]

    @pytest.fixture
    def sink_config(self) -> Mapping[str, Any]:
        """The entry as it stands under `sinks:`; write this fixture."""
        pytest.fail("write the fixture `sink_config`: the entry under `sinks:`, with `type:`")

    @pytest.fixture
    def read_back(self) -> ReadBack:
        """What reads the destination itself; write this fixture."""
        pytest.fail("write the fixture `read_back`: it returns what reads the destination itself")

    @pytest.fixture
    def faults(self) -> FaultInjector | None:
        """What tells your double of the destination to fail; write it if you have a double."""
        return None

    @pytest.fixture
    def clock(self) -> FakeClock:
        """The clock of the cases in this process; it starts now: destinations refuse the past."""
        return FakeClock(datetime.now(UTC).replace(microsecond=0))

    @pytest.fixture(autouse=True)
    def _bounded(self) -> Iterator[None]:
        """End a case that hangs, with the place where it does."""
        with bounded(self.case_seconds):
            yield

    @pytest.fixture(autouse=True)
    def _begin(
        self,
        request: pytest.FixtureRequest,
        sink_config: Mapping[str, Any],
        read_back: ReadBack,
    ) -> None:
        """Find the class under test, and see that the destination is a new one."""
        self.item = request.node.name
        self.sink_class = sink_class_of(sink_config)
        self.exempted = dict(self.sink_class.exemptions)
        require(
            not list(read_back()),
            "the destination is not empty before the case begins: `sink_config` must lead to a "
            "destination of its own in every test (use tmp_path)",
        )

    @pytest.fixture
    def site_folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A folder for the journal, apart from the author's tmp_path."""
        return tmp_path_factory.mktemp("site")

    @pytest.fixture
    def bench(
        self, site_folder: Path, sink_config: Mapping[str, Any], clock: FakeClock
    ) -> Iterator[SinkBench]:
        """The sink on a bench, with small batches."""
        with SinkBench(site_folder, sink_config, clock=clock, batch_size=8) as bench:
            yield bench

    @pytest.fixture
    def start_children(self, request: pytest.FixtureRequest) -> Callable[[Site], Children]:
        """Makes what starts child processes on a site."""

        def on(site: Site) -> Children:
            nursery = nursery_of(request.config, self.sink_class)
            return Children(nursery, site, self.sink_class.type, seconds=self.child_seconds)

        return on

    # -- for the cases ---------------------------------------------------------------------

    def events(self, count: int, clock: FakeClock, seed: int | str = 1) -> list[Event]:
        """Return ordinary events of customers that the destination knows."""
        seed = f"{self.seed}.{seed}"
        at = clock.now() - self.ago
        return some_events(count, seed=seed, customers=self.customers, at=at)

    @property
    def exactly_once(self) -> bool:
        """Tell whether the guarantee allows no repetition at all."""
        return self.sink_class.guarantee is not Guarantee.AT_LEAST_ONCE

    def check(
        self,
        read_back: ReadBack,
        there: Collection[Event],
        absent: Collection[Event] = (),
        given: Mapping[str, int] | None = None,
        *,
        whole_units: bool = True,
    ) -> None:
        """Require that the destination holds exactly these events, as the guarantee says.

        Args:
            read_back: reads the destination.
            there: what it should hold.
            absent: what it must not hold.
            given: how often the sink was given each event: a sink that delivers at least once
                may hold it so often.
            whole_units: sums are rounded down to `unit_seconds`, if the class says so.
        """
        allowed = None if self.exactly_once else (given or {})
        unit = self.unit_seconds if whole_units else None
        complaints = differences(read_back(), there, absent, allowed, unit)
        require(complaints, f"guarantee {self.sink_class.guarantee.value!r} is not kept:")

    def settled(self, bench: SinkBench, *, errors: bool = False) -> None:
        """Settle a bench and require that all of it was delivered.

        Args:
            bench: what to settle.
            errors: the sink may raise on the way.
        """
        balance = bench.settle()
        if bench.parked is not None:
            raise AssertionError(f"the sink was parked: {bench.parked}") from bench.parked
        if bench.errors and not errors:
            raise bench.errors[0]
        refused = {
            i: r for s in ("retrying", "dead", "held") for i, r in bench.exceptions(s).items()
        }
        told = [f"{event_id}: {reason}" for event_id, reason in list(refused.items())[:5]]
        require(told, "events that any destination should take were not delivered:")
        require(balance is not None and balance.balances, f"the sums do not balance: {balance}")

    def require_delivered(self, read_back: ReadBack, delivered: Collection[Event]) -> None:
        """Require that what meter takes for delivered is there."""
        self.require_there(read_back, delivered, "reported as delivered, and not there:")

    def require_there(self, read_back: ReadBack, events: Collection[Event], complaint: str) -> None:
        """Require that the destination holds these events, whatever else it holds."""
        require(missing(read_back(), events, self.unit_seconds), complaint)
