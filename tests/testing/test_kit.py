from __future__ import annotations

import subprocess
import sys
from base64 import b64encode, urlsafe_b64encode
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

import meter.testing
from meter.clock import Clock
from meter.sinks import Options
from meter.testing import (
    FakeClock,
    SinkBench,
    SinkConformance,
    hostile_events,
    some_events,
    stream_terminated,
)
from meter.testing.declaration_cases import undocumented
from meter.testing.points import choose
from meter.testing.secrets import leaks


def test_every_public_name_is_there_and_documented() -> None:
    for name in meter.testing.__all__:
        value: Any = getattr(meter.testing, name)
        assert not callable(value) or value.__doc__, name


def test_without_pytest_one_sentence_says_what_to_install() -> None:
    code = "import sys; sys.modules['pytest'] = None; import meter.testing"
    hidden = "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n: None; "
    done = subprocess.run(
        [sys.executable, "-c", hidden + code], capture_output=True, text=True, check=False
    )
    assert "pip install 'usage-meter[testing]'" in done.stderr.splitlines()[-1]


def test_meter_itself_never_imports_the_kit() -> None:
    root = Path(meter.testing.__file__).parents[1]
    for path in root.rglob("*.py"):
        if path.parent.name != "testing":
            assert "meter.testing" not in path.read_text().replace("`meter.testing", ""), path


def test_a_case_cannot_be_replaced_deleted_or_skipped() -> None:
    def space(**changes: Any) -> dict[str, Any]:
        return {"__module__": __name__, **changes}

    with pytest.raises(TypeError, match="replaces the case test_seconds_are_exact"):
        type("Mine", (SinkConformance,), space(test_seconds_are_exact=lambda _self: None))
    with pytest.raises(TypeError, match="replaces the case test_seconds_are_exact"):
        type("Mine", (SinkConformance,), space(test_seconds_are_exact=None))
    mixin = type("Mixin", (), space(test_seconds_are_exact=lambda _self: None))
    with pytest.raises(TypeError, match="replaces the case test_seconds_are_exact"):
        type("Mine", (mixin, SinkConformance), space())
    with pytest.raises(TypeError, match="marked skip"):
        type("Mine", (SinkConformance,), space(pytestmark=pytest.mark.skip(reason="later")))


def test_each_case_says_what_it_finds() -> None:
    for name in SinkConformance.cases():
        assert (getattr(SinkConformance, name).__doc__ or "").startswith("Finds "), name


class Inner(Options):
    made: list[str] = Field(default_factory=lambda: ["one"], description="Made by a factory.")
    silent: int = 0


class Outer(Options):
    inner: dict[str, Inner] = Field(description="Others.")
    wait: timedelta = Field(timedelta(hours=1), description="A default that is no JSON by itself.")
    broken: str = Field(default_factory=lambda: str(1 / 0), description="Nobody knows.")
    opaque: object = Field(default_factory=object, description="Nothing to show.")


def test_what_a_user_cannot_read_of_the_options_is_told() -> None:
    assert undocumented(Outer) == [
        "broken is optional, and its default cannot be shown",
        "opaque is optional, and its default cannot be shown",
        "Inner.silent has no description",
    ]


def test_the_clock_moves_only_when_it_is_told_to() -> None:
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    as_meter_sees_it: Clock = clock
    before = as_meter_sees_it.monotonic()
    clock.advance(minutes=1)
    assert clock.monotonic() - before == 60
    clock.advance_to(datetime(2025, 1, 1, tzinfo=UTC))
    assert clock.now() == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


def test_the_same_seed_gives_the_same_events() -> None:
    assert some_events(9, seed=4) == some_events(9, seed=4)
    assert {e.event_id for e in some_events(9, seed=4)}.isdisjoint(
        e.event_id for e in some_events(9, seed=5)
    )
    assert len({event.event_id for event in hostile_events()}) == len(hostile_events())


def test_an_author_can_step_a_sink_on_the_bench(tmp_path: Path) -> None:
    entry = {"type": "sqlite", "path": str(tmp_path / "usage.db")}
    with SinkBench(tmp_path / "site", entry, batch_size=2) as bench:
        bench.record(some_events(5))
        balance = bench.settle()
        assert balance is not None
        assert (balance.delivered, len(bench.reports)) == (5, 3)
        assert bench.given == Counter(event.event_id for event in some_events(5))
        bench.reopen()
        assert len(bench.deliver(bench.batch([stream_terminated("s9")])).delivered) == 1


def test_places_after_something_was_written_are_chosen_first() -> None:
    places = [(f"m:{n} in f", 3, n in {4, 9}) for n in range(40)]
    chosen = choose(places, 6, seed=1)
    assert len(chosen) == 6
    assert {"m:4 in f", "m:9 in f"} <= {point.place for point in chosen}
    assert {point.nth for point in chosen} == {2}
    assert len(choose(places, 1, seed=1)) == 1
    assert choose(places[:3], 6, seed=1) == choose(places[:3], 6, seed=2)


def test_a_secret_is_found_in_every_form_and_never_told() -> None:
    secret = 'a/secret+of"the tests'
    forms = (
        'key=a/secret+of"the tests',
        "?k=a%2Fsecret%2Bof%22the%20tests",
        'a/secret+of\\"the tests',
        *(b64encode(f"{user}:{secret}".encode()).decode() for user in ("", "u", "us", "use")),
        urlsafe_b64encode(f"{secret}: and more".encode()).decode(),
    )
    for form in forms:
        (told,) = leaks([secret], {"the log": f"at once {form} and on"})
        assert secret not in told
        assert "the log" in told
    assert leaks([secret], {"the log": "nothing of it"}) == []
