from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from meter.events import encode_event
from meter.testing import CollectorConformance, Row, some_events
from testing.kit import run_kit

ONCE = "test_each_fact_becomes_one_event"
SAME = "test_its_events_are_valid_and_the_same_for_every_reader"
KILLED = "test_killed_on_the_way_it_loses_and_doubles_nothing"
MALFORMED = "test_malformed_input_is_set_aside_and_counted"
SECRET = "test_no_secret_is_in_any_output"
SENTENCES = "test_its_exemptions_are_sentences_for_cases_that_exist"
CAUGHT = {
    "cursor-first": {KILLED},
    "ids-of-chance": {ONCE, SAME, KILLED, MALFORMED},
    "stops-at-the-first": {MALFORMED},
    "drops-the-malformed": {MALFORMED},
    "gives-no-reason": {MALFORMED},
    "tells-its-key": {SECRET},
}
EVENTS = some_events(24)


class TestJsonl(CollectorConformance):
    @pytest.fixture
    def collector_config(self, tmp_path: Path) -> dict[str, Any]:
        path = tmp_path / "events.jsonl"
        path.write_bytes(b"".join(encode_event(event) + b"\n" for event in EVENTS))
        return {"type": "jsonl", "path": str(path)}

    @pytest.fixture
    def expected(self) -> Sequence[Row]:
        return [
            Row(event.event_id, event.customer_id, event.billed_seconds, event.occurred_at)
            for event in EVENTS
        ]

    @pytest.fixture
    def spoil(self, collector_config: dict[str, Any]) -> Callable[[], int]:
        def spoil() -> int:
            path = Path(collector_config["path"])
            lines = path.read_bytes().splitlines(keepends=True)
            lines[3:3] = [b"not json\n", b'{"kind": "async_completed"}\n', b"[1, 2]\n"]
            path.write_bytes(b"".join(lines))
            return 3

        return spoil


def test_a_right_collector_passes(tmp_path: Path) -> None:
    (outcome,) = run_kit(tmp_path, ["right-lines"], file="collectors.py").values()
    assert not outcome.failed
    assert not outcome.skipped


def test_a_broken_collector_fails_the_cases_about_its_fault_and_no_others(tmp_path: Path) -> None:
    only = {collector: cases | {ONCE} for collector, cases in CAUGHT.items()}
    outcomes = run_kit(tmp_path, only, only=only, file="collectors.py")
    assert {collector: set(o.failed) for collector, o in outcomes.items()} == CAUGHT


def test_a_source_that_nobody_spoils_is_exempted_or_fails(tmp_path: Path) -> None:
    only = {"right-lines": {MALFORMED}, "never-malformed": {MALFORMED, SENTENCES}}
    outcomes = run_kit(tmp_path, only, only=only, file="collectors.py", mode="unspoilt")
    assert "write the fixture `spoil`" in outcomes["right-lines"].failed[MALFORMED]
    assert "every three words are a fact" in outcomes["never-malformed"].skipped[MALFORMED]
    assert outcomes["never-malformed"].passed == {SENTENCES}
