from __future__ import annotations

import csv
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter.errors import FatalSinkError, RetryableSinkError
from meter.journal import Journal
from meter.sinks import Batch, Report
from meter_csv.sink import HEADER, CsvSink
from meter_csv.template import Template
from sinks.conftest import Opener, batch_of
from support.facts import completed

EDGE = (",".join(HEADER) + "\r\n").encode()


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Delivers:
    """Delivers and commits as delivery does: the state with the report."""

    def __init__(self, make: Opener, journal: Journal, **options: Any) -> None:
        self.make, self.journal, self.options = make, journal, options
        self.sink: CsvSink = make(CsvSink, **options)
        self.sink.open()

    def __call__(self, batch: Batch) -> Report:
        report = self.sink.deliver(batch)
        self.sink.context.state.commit(report.state)
        return report

    def crash_after(self, batch: Batch) -> None:
        """The rows reach the disk, the report never reaches the journal; then a restart."""
        self.sink.deliver(batch)
        self.sink = self.make(CsvSink, **self.options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "exports" / "usage.csv"


def test_rows_are_rfc_4180_under_a_header_written_once(
    make: Opener, journal: Journal, path: Path
) -> None:
    deliver = Delivers(make, journal, path=path)
    texts = ['say "hi", ok', "two\nlines", "Müller & Söhne", "日本", "\x00"]
    for number, text in enumerate(texts):
        deliver(batch_of([completed(f"t{number}", customer_id=text, seconds=Decimal("1.50"))]))
    assert path.read_bytes().count(EDGE) == 1
    assert path.read_bytes().startswith(EDGE)
    assert [row["customer_id"] for row in read(path)] == texts
    assert {row["seconds"] for row in read(path)} == {"1.5"}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx"])
def test_a_formula_is_neutralised(make: Opener, journal: Journal, path: Path, text: str) -> None:
    Delivers(make, journal, path=path)(batch_of([completed(1, customer_id=text, model=text)]))
    (row,) = read(path)
    assert (row["customer_id"], row["model"]) == (f"'{text}", f"'{text}")


def test_a_torn_tail_is_cut_back_and_the_rows_come_once(
    make: Opener, journal: Journal, path: Path
) -> None:
    deliver = Delivers(make, journal, path=path)
    deliver(batch_of([completed(1)]))
    known = path.read_bytes()
    deliver.crash_after(batch_of([completed(2), completed(3)]))
    assert path.read_bytes() != known
    deliver.sink.open()
    assert path.read_bytes() == known
    deliver(batch_of([completed(2), completed(3), completed(4)]))
    assert [row["provider_id"] for row in read(path)] == ["1", "2", "3", "4"]


def test_a_crash_at_the_very_first_write_leaves_nothing_behind(
    make: Opener, journal: Journal, path: Path
) -> None:
    deliver = Delivers(make, journal, path=path)
    deliver.crash_after(batch_of([completed(1)]))
    deliver.sink.open()
    deliver(batch_of([completed(1), completed(2)]))
    assert [row["provider_id"] for row in read(path)] == ["1", "2"]
    assert path.read_bytes().count(EDGE) == 1


@pytest.mark.parametrize("kept", range(0, 400, 37))
def test_a_write_torn_at_any_byte_is_repaired(
    make: Opener, journal: Journal, path: Path, kept: int
) -> None:
    deliver = Delivers(make, journal, path=path)
    deliver(batch_of([completed(1)]))
    known = path.stat().st_size
    deliver.crash_after(batch_of([completed(n) for n in range(2, 6)]))
    with path.open("r+b") as file:
        file.truncate(known + kept)
    deliver.sink.open()
    deliver(batch_of([completed(n) for n in range(2, 6)]))
    assert [row["provider_id"] for row in read(path)] == ["1", "2", "3", "4", "5"]


def test_a_file_of_somebody_elses_is_never_touched(
    make: Opener, journal: Journal, path: Path
) -> None:
    path.parent.mkdir()
    path.write_text("my,own,file\n")
    deliver = Delivers(make, journal, path=path)
    with pytest.raises(FatalSinkError, match="was not written by this sink"):
        deliver(batch_of([completed(1)]))
    assert path.read_text() == "my,own,file\n"


def test_a_file_where_a_folder_is_wanted_is_named_and_waited_for(
    make: Opener, journal: Journal, path: Path
) -> None:
    path.parent.write_text("notes")
    with pytest.raises(RetryableSinkError, match="exports is wanted as a folder, and a file is"):
        Delivers(make, journal, path=path)
    path.parent.unlink()
    Delivers(make, journal, path=path)(batch_of([completed("t1")]))
    assert len(read(path)) == 1


def test_a_file_that_was_cut_short_parks_the_sink(
    make: Opener, journal: Journal, path: Path
) -> None:
    deliver = Delivers(make, journal, path=path)
    deliver(batch_of([completed(1)]))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(FatalSinkError, match="cut short"):
        deliver(batch_of([completed(2)]))
    with pytest.raises(FatalSinkError, match="cut short"):
        make(CsvSink, path=path).open()


def test_a_changed_header_parks_the_sink(make: Opener, journal: Journal, path: Path) -> None:
    deliver = Delivers(make, journal, path=path)
    deliver(batch_of([completed(1)]))
    path.write_bytes(path.read_bytes().replace(b"event_id", b"EVENT_ID", 1))
    with pytest.raises(FatalSinkError, match="was changed"):
        make(CsvSink, path=path).open()


@pytest.mark.parametrize("number", [0, 5, 39])
def test_a_row_that_was_edited_parks_the_sink_and_no_row_is_cut(
    make: Opener, journal: Journal, path: Path, number: int
) -> None:
    deliver = Delivers(make, journal, path=path)
    deliver(batch_of([completed(n, customer_id=f"acme-{n}") for n in range(40)]))
    edited = path.read_bytes().replace(f"acme-{number},".encode(), b"acme corporation,")
    path.write_bytes(edited)
    with pytest.raises(FatalSinkError, match="was changed"):
        deliver(batch_of([completed(99)]))
    assert path.read_bytes() == edited


def test_an_archived_file_put_back_over_a_newer_one_is_not_cut(
    make: Opener, journal: Journal, path: Path
) -> None:
    deliver = Delivers(make, journal, path=path)
    deliver(batch_of([completed(n) for n in range(30)]))
    archived = path.rename(path.with_suffix(".done"))
    deliver(batch_of([completed(40)]))
    whole = archived.read_bytes()
    archived.rename(path)
    with pytest.raises(FatalSinkError, match="was changed"):
        deliver(batch_of([completed(41)]))
    assert path.read_bytes() == whole


def test_two_sinks_never_meet_in_one_file(make: Opener, journal: Journal, tmp_path: Path) -> None:
    one = Delivers(make, journal, path=tmp_path / "usage-{month}.csv")
    one(batch_of([completed(1)]))
    other: CsvSink = make(CsvSink, "other", path=tmp_path / "usage-2026-11.csv")
    other.open()
    with pytest.raises(FatalSinkError, match="is written by the sink 'out'"):
        other.deliver(batch_of([completed(1)]))


def test_a_file_that_was_moved_away_is_started_anew(
    make: Opener, journal: Journal, path: Path
) -> None:
    deliver = Delivers(make, journal, path=path)
    deliver(batch_of([completed(1), completed(2)]))
    path.rename(path.with_suffix(".done"))
    deliver.crash_after(batch_of([completed(3)]))
    deliver.sink.open()
    deliver(batch_of([completed(3)]))
    assert [row["provider_id"] for row in read(path)] == ["3"]


def test_templates_file_by_month_of_utc_and_by_customer(
    make: Opener, journal: Journal, tmp_path: Path
) -> None:
    deliver = Delivers(make, journal, path=tmp_path / "{customer_id}" / "{month}.csv")
    october = datetime(2026, 10, 31, 23, 59, tzinfo=UTC)
    deliver(
        batch_of(
            [
                completed(1),
                completed(2, occurred_at=october),
                completed(3, customer_id="../../etc/passwd"),
                completed(4, customer_id=".."),
            ]
        )
    )
    found = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.csv")}
    assert found == {
        "acme/2026-10.csv",
        "acme/2026-11.csv",
        "%2E%2E%2F%2E%2E%2Fetc%2Fpasswd/2026-11.csv",
        "%2E%2E/2026-11.csv",
    }


@given(
    first=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    second=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_no_two_customers_share_a_file_and_none_leaves_the_folder(first: str, second: str) -> None:
    template = Template(Path("/exports/{customer_id}.csv"))
    names = [template.name(template.key(completed(1, customer_id=c))) for c in (first, second)]
    assert (names[0] == names[1]) == (first == second)
    for name in names:
        assert len(name.encode()) <= 255
        assert (template.folder / name).resolve().parent == Path("/exports")


def test_very_long_customers_get_names_that_fit_and_differ() -> None:
    template = Template(Path("/exports/{customer_id}.csv"))
    names = {template.name(template.key(completed(1, customer_id="ü" * 500 + x))) for x in "ab"}
    assert len(names) == 2
    assert all(len(name) < 200 for name in names)


@pytest.mark.parametrize(
    "path", ["a-{moth}.csv", "a-{month.csv", "a-month}.csv", "{month}/../x.csv", "a-{{month}}.csv"]
)
def test_a_template_that_cannot_be_filled_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="a path"):
        CsvSink.Options(path=Path(path))
