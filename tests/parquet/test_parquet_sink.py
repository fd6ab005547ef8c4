from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pyarrow import parquet  # type: ignore[import-untyped]  # because it has no types

import meter
from meter.events import MAX_SECONDS
from meter.journal import Journal
from meter.sinks import Position
from parquet.conftest import Hirer, Opener, batch_of, drain, of_month
from parquet.reading import ask, facts, files, ids, rows, table
from support.clocks import FakeClock
from support.facts import NOON, completed, failed, terminated

HOSTILE = [
    'say "hi", ok',
    "two\r\nlines",
    "Müller & Söhne",
    "日本 🎧👩‍👩‍👧",
    "\x00",
    "a\x00b",
    "=1+1",
    "x" * 10_000,
    "../../etc/passwd",
]


def test_a_row_holds_the_columns_and_types_that_are_documented(make: Opener, folder: Path) -> None:
    sink = make()
    sink.open()
    session = terminated(
        "s1",
        seconds=Decimal("61.123456789"),
        audio_seconds=Decimal(40),
        model="universal",
        dimensions={"project_id": "p", "a": "ü"},
        recorded_at=NOON + timedelta(microseconds=1),
    )
    sink.deliver(batch_of([session]))
    (name,) = files(folder)
    assert name == "month=2026-11/usage-00000001.parquet"
    columns = list(table(folder / name).schema)
    assert [f"{f.name} {f.type}" for f in columns[:-1]] == [
        "event_id string",
        "kind string",
        "customer_id string",
        "seconds decimal128(38, 9)",
        "provider_id string",
        "collector string",
        "occurred_at timestamp[us, tz=UTC]",
        "recorded_at timestamp[us, tz=UTC]",
        "model string",
        "audio_seconds decimal128(38, 9)",
    ]
    dimensions = columns[-1].type
    assert (str(dimensions.key_type), str(dimensions.item_type)) == ("string", "string")
    (row,) = rows(folder)
    assert row == {
        "event_id": "assemblyai:session:s1",
        "kind": "stream_terminated",
        "customer_id": "acme",
        "seconds": Decimal("61.123456789"),
        "provider_id": "s1",
        "collector": "apps",
        "occurred_at": NOON,
        "recorded_at": NOON + timedelta(microseconds=1),
        "model": "universal",
        "audio_seconds": Decimal(40),
        "dimensions": [("a", "ü"), ("project_id", "p")],
    }


def test_what_is_never_billed_has_no_seconds(make: Opener, folder: Path) -> None:
    sink = make()
    sink.open()
    sink.deliver(batch_of([failed("f")]))
    (row,) = rows(folder)
    assert (row["seconds"], row["model"], row["audio_seconds"]) == (None, None, None)


@pytest.mark.parametrize("reader", ["pyarrow", "duckdb"])
def test_any_text_comes_back_as_it_was(make: Opener, folder: Path, reader: str) -> None:
    sink = make()
    sink.open()
    events = [
        completed(f"{n}", customer_id=text, model=text, dimensions={text: text})
        for n, text in enumerate(HOSTILE)
    ]
    sink.deliver(batch_of(events))
    if reader == "pyarrow":
        found = [(r["customer_id"], r["model"], dict(r["dimensions"])) for r in rows(folder)]
    else:
        sql = f"SELECT customer_id, model, dimensions FROM '{folder}/*/*.parquet'"
        found = ask(sql)
    assert found == [(text, text, {text: text}) for text in HOSTILE]


def test_seconds_are_exact_at_their_smallest_and_their_largest(make: Opener, folder: Path) -> None:
    sink = make()
    sink.open()
    extremes = [Decimal("1E-9"), MAX_SECONDS, MAX_SECONDS - Decimal("1E-9"), Decimal(0)]
    tenths = [Decimal("0.1")] * 10
    events = [completed(n, seconds=s) for n, s in enumerate([*extremes, *tenths])]
    sink.deliver(batch_of(events))
    assert [row["seconds"] for row in rows(folder)] == [*extremes, *tenths]
    assert ask(f"SELECT sum(seconds) FROM '{folder}/*/*.parquet'") == [(Decimal(20000001),)]


def test_more_than_nine_decimals_are_rounded_half_even_before_they_get_here() -> None:
    assert completed(1, seconds=Decimal("1.0000000005")).seconds == Decimal(1)


def test_months_are_those_of_utc_and_rows_are_in_order_of_time(make: Opener, folder: Path) -> None:
    sink = make()
    sink.open()
    last = datetime(2026, 10, 31, 23, 59, 59, 999999, tzinfo=UTC)
    times = [NOON, last + timedelta(microseconds=1), last, NOON - timedelta(days=1)]
    early = datetime(987, 1, 2, tzinfo=UTC)
    events = [completed(n, occurred_at=at) for n, at in enumerate([*times, early])]
    sink.deliver(batch_of(events))
    assert files(folder) == [
        "month=0987-01/usage-00000001.parquet",
        "month=2026-10/usage-00000001.parquet",
        "month=2026-11/usage-00000001.parquet",
    ]
    november = table(folder / "month=2026-11/usage-00000001.parquet").to_pylist()
    assert [row["provider_id"] for row in november] == ["1", "3", "0"]


def test_a_file_says_where_it_comes_from(make: Opener, folder: Path, journal: Journal) -> None:
    sink = make()
    sink.open()
    sink.deliver(batch_of([of_month(n) for n in range(6)], first=11, checkpoint=20))
    (name, *_) = files(folder)
    assert facts(folder / name) == {
        "meter.schema_version": "1",
        "meter.version": meter.__version__,
        "meter.journal_id": journal.journal_id,
        "meter.sink": "out",
        "meter.batch": "1",
        "meter.first_offset": "11",
        "meter.last_offset": "14",
        "meter.checkpoint": "20",
    }
    column = parquet.ParquetFile(folder / name).metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"


def test_a_file_with_a_column_more_is_read_beside_the_old_ones(
    make: Opener, folder: Path, tmp_path: Path
) -> None:
    sink = make()
    sink.open()
    sink.deliver(batch_of([completed(1)]))
    (name,) = files(folder)
    newer = table(folder / name).append_column("region", [["eu"]])
    parquet.write_table(newer, tmp_path / "newer.parquet")
    sql = (
        f"SELECT provider_id, region FROM read_parquet(['{folder}/*/*.parquet',"
        f" '{tmp_path}/newer.parquet'], union_by_name = true, hive_partitioning = false)"
    )
    assert sorted(ask(sql), key=str) == [("1", "eu"), ("1", None)]


def test_what_comes_again_is_a_duplicate_whatever_its_purpose_and_company(
    make: Opener, folder: Path, journal: Journal
) -> None:
    sink = make()
    sink.open()
    events = [of_month(n) for n in range(9)]
    sink.deliver(batch_of(events[2:5], first=3))
    again = sink.deliver(batch_of(events[1:6], first=2, purpose="retry", checkpoint=5))
    assert set(again.delivered) == {events[1].event_id, events[5].event_id}
    assert set(again.duplicate) == {event.event_id for event in events[2:5]}
    replayed = sink.deliver(batch_of(events[:6], purpose="replay", checkpoint=5))
    assert list(replayed.delivered) == [events[0].event_id]
    before = files(folder)
    for purpose in ("new", "retry", "replay"):
        same = sink.deliver(batch_of(events[:6], purpose=purpose))
        assert (len(same.delivered), len(same.duplicate)) == (0, 6)
    assert files(folder) == before
    assert ids(folder) == [f"{n:04}" for n in range(6)]
    assert make().open() == Position(journal.journal_id, 6, 6)


def test_only_what_is_new_moves_the_checkpoint_and_never_back(
    make: Opener, journal: Journal
) -> None:
    sink = make()
    assert sink.open() == Position(journal.journal_id, 0, 0)
    sink.deliver(batch_of([completed(1)], checkpoint=5))
    sink.deliver(batch_of([completed(2)], checkpoint=9, purpose="retry"))
    sink.deliver(batch_of([completed(3)], checkpoint=3))
    assert make().open() == Position(journal.journal_id, 5, 3)


def test_a_trickle_waits_for_the_round_time_and_is_one_file_then(
    hire: Hirer, clock: FakeClock, folder: Path, journal: Journal
) -> None:
    worker = hire("15m")
    clock.advance(minutes=3)
    for number in range(20):
        journal.append([completed(f"{number:02}")]).wait()
        drain(worker)
        clock.advance(seconds=30)
    assert files(folder) == []
    clock.advance(seconds=60)
    drain(worker)
    assert files(folder) == []
    clock.advance(seconds=60)
    drain(worker)
    assert files(folder) == ["month=2026-11/usage-00000001.parquet"]
    assert ids(folder) == [f"{n:02}" for n in range(20)]
    (balance,) = journal.totals().balances
    assert (balance.delivered, balance.balances) == (20, True)


def test_what_waits_leaves_at_once_when_everything_should(
    hire: Hirer, folder: Path, journal: Journal
) -> None:
    worker = hire("15m")
    journal.append([completed(1)]).wait()
    drain(worker)
    assert files(folder) == []
    worker.flush()
    journal.append([completed(2)]).wait()
    drain(worker)
    assert ids(folder) == ["1", "2"]


def test_many_at_once_do_not_wait(make: Opener, folder: Path) -> None:
    sink = make(every="1h")
    sink.open()
    few = sink.deliver(batch_of([completed(n) for n in range(9_999)]))
    assert (len(few.later), files(folder)) == (9_999, [])
    many = sink.deliver(batch_of([completed(n) for n in range(10_000)]))
    assert len(many.delivered) == len(ids(folder)) == 10_000


def test_what_waits_survives_a_restart_and_a_moved_folder(
    hire: Hirer, clock: FakeClock, folder: Path, journal: Journal
) -> None:
    journal.append([of_month(n) for n in range(5)]).wait()
    drain(hire("15m"))
    clock.advance(minutes=15)
    drain(hire("15m"))
    assert len(ids(folder)) == 5
    folder.rename(folder.with_name("archive"))
    journal.append([of_month(n) for n in range(5, 8)]).wait()
    worker = hire("15m")
    drain(worker)
    clock.advance(minutes=15)
    drain(worker)
    assert ids(folder) == [f"{n:04}" for n in range(8)]
    (balance,) = journal.totals().balances
    assert (balance.delivered, balance.balances) == (8, True)


def test_status_says_what_was_written_last(make: Opener) -> None:
    sink = make()
    sink.open()
    assert sink.status() == []
    report = sink.deliver(batch_of([of_month(n) for n in range(2)]))
    sink.context.state.commit(report.state)
    (line,) = make().status()
    assert line == (
        "last wrote 2 events at 2026-11-22T12:00:00.000000Z: "
        "month=2026-09/usage-00000001.parquet, month=2026-10/usage-00000001.parquet"
    )
