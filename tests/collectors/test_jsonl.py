from __future__ import annotations

import asyncio
import json
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.conftest import MakeContext
from meter.collectors.jsonl import LONGEST_LINE, JsonlCollector, LineSplitter
from meter.errors import CollectorError
from meter.events import encode_event
from meter.journal import Journal
from support.facts import completed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def collect(path: Path, context: MakeContext) -> JsonlCollector:
    collector = JsonlCollector(JsonlCollector.Options(path=path), context(name="import"))
    asyncio.run(collector.run(once=True))
    return collector


def test_each_line_is_an_event_and_a_second_reading_changes_nothing(
    path: Path, context: MakeContext, journal: Journal
) -> None:
    events = [completed(n, seconds=Decimal(n)) for n in range(5)]
    path.write_bytes(b"\n".join(encode_event(event) for event in events))
    collect(path, context)
    assert [entry.event for entry in journal.read(0, 10)] == events
    again = collect(path, context)
    assert again.counts == {"recorded": 0, "duplicate": 5, "conflict": 0, "quarantined": 0}


@pytest.mark.parametrize(
    ("collector", "kept"),
    [("transcripts", "transcripts"), ("of-another-file", "import"), (None, "import")],
)
def test_who_collected_a_line_stands_if_the_file_knows_it(
    path: Path, context: MakeContext, journal: Journal, collector: str | None, kept: str
) -> None:
    fields = json.loads(encode_event(completed(1)))
    del fields["collector"], fields["recorded_at"], fields["event_id"]
    if collector is not None:
        fields["collector"] = collector
    fields["seconds"] = 0.1
    path.write_text(json.dumps(fields))
    collect(path, context)
    (entry,) = journal.read(0, 10)
    assert entry.event.collector == kept
    assert entry.event.billed_seconds == Decimal("0.1")


def test_a_bad_line_is_kept_aside_with_its_number_and_the_rest_goes_on(
    path: Path, context: MakeContext, journal: Journal, tmp_path: Path
) -> None:
    good = [encode_event(completed(n)) for n in range(3)]
    negative = good[0].replace(b":60", b":-60")
    path.write_bytes(b"\r\n".join([good[0], b"{not json", b"", good[1], negative, good[2]]))
    collector = collect(path, context)
    assert collector.counts["recorded"] == 3
    assert collector.counts["quarantined"] == 2
    assert journal.totals().quarantined == {"import": 2}
    with sqlite3.connect(tmp_path / "m.db") as reader:
        kept = reader.execute("SELECT reason, payload FROM quarantine ORDER BY id").fetchall()
    reader.close()
    assert kept[0][0].startswith("line 2: not JSON")
    assert json.loads(kept[0][1]) == {"line": 2, "text": "{not json\r"}
    assert kept[1][0] == "line 5: seconds: expected 0 or more, got -60"
    collect(path, context)
    assert journal.totals().quarantined == {"import": 2}


def test_an_overlong_line_is_set_aside_without_being_held_in_memory(
    path: Path, context: MakeContext, journal: Journal
) -> None:
    with path.open("wb") as file:
        file.write(b"x" * (LONGEST_LINE * 5) + b"\n")
        file.write(encode_event(completed(1)))
    assert collect(path, context).counts["quarantined"] == 1
    assert journal.totals().events == {"async_completed": 1}


def test_a_file_that_is_not_there_is_an_error_that_says_what_to_do(
    path: Path, context: MakeContext
) -> None:
    with pytest.raises(CollectorError, match="No such file"):
        collect(path, context)


@given(
    lines=st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b""))),
    cut=st.integers(1, 7),
)
def test_lines_are_the_same_however_the_chunks_fall(lines: list[bytes], cut: int) -> None:
    content = b"\n".join(lines)
    splitter = LineSplitter()
    found = []
    for start in range(0, len(content), cut):
        found += splitter.feed(content[start : start + cut])
    found += splitter.rest()
    if not content.startswith(b"\xef\xbb\xbf"[:1]):
        assert found == (lines if not lines or lines[-1] else lines[:-1])


def test_lines_wait_for_a_journal_that_cannot_be_written(
    path: Path, context: MakeContext, journal: Journal, tmp_path: Path
) -> None:
    path.write_bytes(encode_event(completed(1)))
    database = tmp_path / "m.db"
    hidden = database.rename(tmp_path / "hidden.db")

    async def read_while_it_comes_back() -> None:
        collector = JsonlCollector(JsonlCollector.Options(path=path), context(name="import"))
        reading = asyncio.create_task(collector.run(once=True))
        done, _ = await asyncio.wait([reading], timeout=0.3)
        assert not done
        hidden.rename(database)
        await reading

    asyncio.run(read_while_it_comes_back())
    assert journal.totals().events == {"async_completed": 1}


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"\xef\xbb\xbf{}\n") == [b"{}"]
