"""The conformance kit: does a plugin keep what it promises?

This is the whole test of a sink; install `usage-meter[testing]`, and your package with
`pip install -e .`, since the kit finds the sink as meter does, by its entry point:

    # tests/test_conformance.py
    class TestMySink(SinkConformance):
        @pytest.fixture
        def sink_config(self, tmp_path):
            return {"type": "mysink", "path": str(tmp_path / "out.db")}

        @pytest.fixture
        def read_back(self, sink_config):
            def rows():
                for event_id, customer, seconds in my_own_query(sink_config["path"]):
                    yield Row(event_id, customer, Decimal(seconds))
            return rows

`sink_config` is the entry as it stands under `sinks:`; every test must get a destination of its
own. `read_back` returns a callable that reads the destination itself, with no code of the sink's,
at any time: before there is one (it yields nothing), while a sink is open, after a crash. It
gives a `Row` for each record, with whatever the destination keeps; a destination that only keeps
sums gives rows without event_id, and sums are compared. Both fixtures, and the optional ones,
must stand in the class. Optional: `faults` returns a `FaultInjector` that makes your own double
of the destination fail; `clock` the `FakeClock` of the cases in this process (it starts now).
The class attributes `customers`, `seed`, `kill_points`, `child_seconds`, `ago` (usage of hours that
are over) and `unit_seconds` (sums in whole units) are described in
`meter.testing.sink_cases.SinkCases`. A sink that starts at `now` needs `start: beginning`.

What is checked, each case by a method whose name is its promise:

* batches: none, one event, 2,000, the same again, overlapping, times out of order, equal usage
  of one customer, exact seconds, hostile text (delivered as it is, or refused with a reason);
* faults: four schedules around the sink, and in the destination with `faults`; every event ends
  delivered, refused or held, and is there or not accordingly; partial outcomes are offered again;
* life: a stop during a delivery, closing and opening, failures on the way, a neighbour on the
  same destination, a second `meter run` on the journal;
* death: the real `meter run --once`, in a process of its own, is ended by SIGKILL before, inside
  and after a delivery, in its first run, while it repairs, and before `close`: at lines of the
  sink's own code, most of them right after something was written or sent. Then another process
  goes on, the destination is read back, and must hold exactly what the `guarantee` promises:
  each event once; for `Guarantee.AT_LEAST_ONCE`, each at least once, and at most as often as the
  sink was given it;
* secrets: none in logs, errors, representations, the journal, or what commands print;
* declarations: type, guarantee and its note, every option with its description and default.

What is not checked: speed; a power failure (SIGKILL loses what a process has not written, a
power failure also what it has not synced); a destination that loses data by itself; that
`read_back` is right, beyond showing what was delivered; code of the sink outside its own
top-level package, for the places to die at; faults of the network, unless `faults` makes them.

A case that a sink cannot pass is declared on the sink, and shown to its users:

    class MySink(Sink):
        exemptions = {"test_seconds_are_exact": "the service keeps two decimals"}

An exempted case runs all the same, and must fail. A case cannot be skipped or replaced.

A collector has the same in small: see `meter.testing.collector_conformance`.

For tests of your own: `SinkBench` runs your sink under the real worker on a real journal, with a
clock that only the test moves; `some_events`, `hostile_events`, `async_completed` and
`stream_terminated` make events; `ScheduledFaults` lets deliveries fail.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from meter.testing.bench import SinkBench as SinkBench
    from meter.testing.clock import FakeClock as FakeClock
    from meter.testing.collector_conformance import CollectorConformance as CollectorConformance
    from meter.testing.events import HOSTILE_TEXTS as HOSTILE_TEXTS
    from meter.testing.events import async_completed as async_completed
    from meter.testing.events import hostile_events as hostile_events
    from meter.testing.events import some_events as some_events
    from meter.testing.events import stream_terminated as stream_terminated
    from meter.testing.events import unbilled_events as unbilled_events
    from meter.testing.faults import SCHEDULES as SCHEDULES
    from meter.testing.faults import DestinationFault as DestinationFault
    from meter.testing.faults import FaultInjector as FaultInjector
    from meter.testing.faults import FaultSchedule as FaultSchedule
    from meter.testing.faults import ScheduledFaults as ScheduledFaults
    from meter.testing.rows import Row as Row
    from meter.testing.sink_conformance import SinkConformance as SinkConformance

if find_spec("pytest") is None:
    raise ImportError("meter.testing runs under pytest: pip install 'usage-meter[testing]'")

_HOMES: Final = {
    "CollectorConformance": "collector_conformance",
    "DestinationFault": "faults",
    "FakeClock": "clock",
    "FaultInjector": "faults",
    "FaultSchedule": "faults",
    "HOSTILE_TEXTS": "events",
    "Row": "rows",
    "SCHEDULES": "faults",
    "ScheduledFaults": "faults",
    "SinkBench": "bench",
    "SinkConformance": "sink_conformance",
    "async_completed": "events",
    "hostile_events": "events",
    "some_events": "events",
    "stream_terminated": "events",
    "unbilled_events": "events",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605  because the homes name them


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: a child process needs none of pytest."""
    if name in _HOMES:
        return getattr(import_module(f"meter.testing.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'meter.testing' has no attribute {name!r}")
