from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meter.errors import FatalSinkError, RetryableSinkError
from meter.events import StreamTerminated
from meter.journal import Journal
from meter.sinks import Position
from meter_sqlite.sink import COLUMNS, SqliteSink
from sinks.conftest import Opener, batch_of
from support.facts import NOON, completed, failed


def rows(path: Path, sql: str = "SELECT * FROM usage ORDER BY rowid") -> list[dict[str, Any]]:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute(sql)]
    finally:
        connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "usage.db"


def test_a_row_holds_the_columns_that_the_design_names(make: Opener, path: Path) -> None:
    sink = make(SqliteSink, path=path)
    sink.open()
    event = completed(
        "t1", seconds=Decimal("12.50"), model="universal", dimensions={"project_id": "p", "a": "ü"}
    )
    sink.deliver(batch_of([event]))
    (row,) = rows(path)
    assert list(row) == list(COLUMNS)
    assert row == {
        "event_id": "assemblyai:transcript:t1",
        "kind": "async_completed",
        "customer_id": "acme",
        "seconds": "12.5",
        "microseconds": 12_500_000,
        "provider_id": "t1",
        "collector": "transcripts",
        "occurred_at": "2026-11-22T12:00:00.000000Z",
        "recorded_at": "2026-11-22T12:00:00.000000Z",
        "model": "universal",
        "audio_seconds": None,
        "dimensions": '{"a":"ü","project_id":"p"}',
    }


def test_sessions_keep_audio_seconds_beside_what_is_billed(make: Opener, path: Path) -> None:
    sink = make(SqliteSink, path=path)
    sink.open()
    session = StreamTerminated(
        provider_id="s1",
        customer_id="acme",
        collector="live",
        occurred_at=NOON,
        recorded_at=NOON,
        seconds=Decimal("61.123456789"),
        audio_seconds=Decimal(40),
    )
    sink.deliver(batch_of([session, failed("t2")]))
    billed, never = rows(path)
    assert (billed["seconds"], billed["audio_seconds"]) == ("61.123456789", "40")
    assert billed["microseconds"] == 61_123_457
    assert (never["kind"], never["seconds"], never["microseconds"]) == ("async_failed", None, None)


def test_rows_and_checkpoint_are_one_transaction(
    make: Opener, path: Path, journal: Journal
) -> None:
    sink = make(SqliteSink, path=path)
    assert sink.open() == Position(journal.journal_id, 0, 0)
    sink.deliver(batch_of([completed(n) for n in range(3)], checkpoint=7))
    sink.close()
    again = make(SqliteSink, path=path)
    assert again.open() == Position(journal.journal_id, 7, 3)
    report = again.deliver(batch_of([completed(n) for n in range(4)], checkpoint=8))
    assert len(report.delivered) == 4
    assert len(rows(path)) == 4
    assert rows(path, "SELECT * FROM meter_checkpoints") == [
        {"sink": "out", "journal_id": journal.journal_id, "checkpoint": 8, "delivered": 4}
    ]


def test_a_retry_never_moves_the_checkpoint(make: Opener, path: Path, journal: Journal) -> None:
    sink = make(SqliteSink, path=path)
    sink.open()
    sink.deliver(batch_of([completed(1)], checkpoint=5))
    sink.deliver(batch_of([completed(2)], checkpoint=9, purpose="retry"))
    sink.close()
    assert make(SqliteSink, path=path).open() == Position(journal.journal_id, 5, 2)


def test_the_view_sums_exactly_by_customer_and_month_of_utc(make: Opener, path: Path) -> None:
    sink = make(SqliteSink, path=path)
    sink.open()
    last = datetime(2026, 10, 31, 23, 59, 59, 999999, tzinfo=UTC)
    tenth = Decimal("0.1")
    events = [completed(n, seconds=tenth, occurred_at=last) for n in range(10)]
    after = completed("n", seconds=tenth, occurred_at=last + timedelta(microseconds=1))
    sink.deliver(batch_of([*events, after, failed("f")]))
    assert rows(path, "SELECT * FROM usage_by_month ORDER BY month") == [
        {
            "customer_id": "acme",
            "month": "2026-10",
            "events": 10,
            "seconds": 1.0,
            "hours": 1 / 3600,
            "microseconds": 1_000_000,
        },
        {
            "customer_id": "acme",
            "month": "2026-11",
            "events": 1,
            "seconds": 0.1,
            "hours": 0.1 / 3600,
            "microseconds": 100_000,
        },
    ]


def test_two_sinks_may_share_a_file(make: Opener, path: Path, journal: Journal) -> None:
    one, two = make(SqliteSink, "one", path=path), make(SqliteSink, "two", path=path, table="other")
    one.open()
    two.open()
    one.deliver(batch_of([completed(1)], checkpoint=3))
    assert two.open() == Position(journal.journal_id, 0, 0)
    assert rows(path, "SELECT * FROM other") == []


def test_hostile_text_is_kept_as_it_is(make: Opener, path: Path) -> None:
    sink = make(SqliteSink, path=path)
    sink.open()
    texts = ["'); DROP TABLE usage; --", "\x00", "🙂\n\r", "=1+1", " x "]
    sink.deliver(batch_of([completed(f"t{n}", customer_id=t) for n, t in enumerate(texts)]))
    assert [row["customer_id"] for row in rows(path)] == texts


def test_what_is_not_a_database_parks_the_sink_and_is_left_alone(make: Opener, path: Path) -> None:
    path.parent.mkdir()
    path.write_text("my notes\n" * 500)
    with pytest.raises(FatalSinkError, match="not a SQLite database"):
        make(SqliteSink, path=path).open()
    assert path.read_text().startswith("my notes")


def test_a_table_of_somebody_elses_parks_the_sink(make: Opener, path: Path) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE usage (name TEXT)")
    connection.close()
    with pytest.raises(FatalSinkError, match=r"not meter's: it has no column"):
        make(SqliteSink, path=path).open()


def test_a_removed_file_is_noticed_and_nothing_is_called_delivered(
    make: Opener, path: Path, journal: Journal
) -> None:
    sink = make(SqliteSink, path=path)
    sink.open()
    sink.deliver(batch_of([completed(1)]))
    path.unlink()
    with pytest.raises(RetryableSinkError):
        sink.deliver(batch_of([completed(2)]))
    sink.close()
    assert make(SqliteSink, path=path).open() == Position(journal.journal_id, 0, 0)


def test_a_table_name_that_is_no_name_is_refused() -> None:
    with pytest.raises(ValueError, match="table"):
        SqliteSink.Options(path=Path("x.db"), table="usage; DROP TABLE x")
