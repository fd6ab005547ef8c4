"""What a folder may look like when a sink comes to it, and what is done about it."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meter.errors import FatalSinkError, RetryableSinkError
from meter.sinks import Position
from meter_parquet.books import LAYOUT
from parquet.conftest import Opener, batch_of, of_month
from parquet.reading import files, ids
from support.facts import completed

SIX = [of_month(n) for n in range(6)]


@pytest.fixture
def filled(make: Opener, folder: Path) -> Path:
    """A folder of three months, two events each, and its sink closed."""
    sink = make()
    sink.open()
    report = sink.deliver(batch_of(SIX))
    sink.context.state.commit(report.state)
    sink.close()
    return folder


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the kernel refuse to make any file longer than this many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user without rights, where the tests run as root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def parts(folder: Path) -> list[str]:
    return [path.name for path in (folder / "_meter").glob("*.part")]


# -- a disk that refuses -------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2_000, 20_000])
def test_a_disk_that_takes_no_more_leaves_nothing_and_is_tried_again(
    make: Opener, filled: Path, size: int
) -> None:
    before = files(filled)
    sink = make()
    sink.open()
    # Texts that do not compress: some 300 kB in all.
    many = [of_month(n, customer_id=os.urandom(50).hex()) for n in range(6, 3_000)]
    with largest_file(size), pytest.raises(RetryableSinkError):
        sink.deliver(batch_of(many, first=7))
    assert (files(filled), parts(filled)) == (before, [])
    again = make()
    again.open()
    assert len(again.deliver(batch_of(many, first=7)).delivered) == len(many)
    assert ids(filled) == [f"{n:04}" for n in range(3_000)]


def test_a_folder_that_cannot_be_made_is_tried_again(make: Opener, folder: Path) -> None:
    folder.parent.parent.mkdir(exist_ok=True)
    folder.parent.write_text("a file where a folder should be")
    sink = make()
    with pytest.raises(RetryableSinkError, match=str(folder.parent)):
        sink.open()
    with pytest.raises(RetryableSinkError, match="is no folder that this user can write in"):
        sink.check()
    folder.parent.unlink()
    sink.open()


def test_a_folder_that_may_not_be_written_is_told_and_tried_again(
    make: Opener, filled: Path
) -> None:
    sink = make()
    whole = [filled, *(place for place in filled.rglob("*") if place.is_dir())]
    for place in whole:
        place.chmod(0o555)
    try:
        with nobody():
            for question in (sink.open, sink.check):
                with pytest.raises(RetryableSinkError, match=str(filled)):
                    question()
    finally:
        for place in whole:
            place.chmod(0o755)
    assert sink.open().delivered == 6


def test_books_that_are_locked_for_long_are_tried_again(make: Opener, filled: Path) -> None:
    sink = make()
    sink.open()
    assert sink._books is not None
    sink._books._connection.execute("PRAGMA busy_timeout = 10")
    holder = sqlite3.connect(filled / "_meter" / "books.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(RetryableSinkError, match="locked"):
        sink.deliver(batch_of([completed(9)]))
    holder.execute("ROLLBACK")
    holder.close()
    assert sink.deliver(batch_of([completed(9)])).delivered


def test_a_sink_that_is_not_open_delivers_nothing(make: Opener, folder: Path) -> None:
    with pytest.raises(RetryableSinkError, match="not open"):
        make().deliver(batch_of([completed(1)]))
    assert not folder.exists()


# -- somebody else's folder ----------------------------------------------------------------


def test_a_folder_with_somebody_elses_parquet_is_not_touched(make: Opener, folder: Path) -> None:
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "theirs.parquet").write_bytes(b"theirs")
    for question in (make().open, make().check):
        with pytest.raises(FatalSinkError, match=r"deep/theirs\.parquet is not in this sink's"):
            question()
    assert [path.name for path in folder.iterdir()] == ["deep"]


def test_a_stranger_among_the_files_parks_the_sink_until_it_is_moved_away(
    make: Opener, filled: Path
) -> None:
    copy = filled / "month=2026-09" / "copy.parquet"
    shutil.copy(filled / files(filled)[0], copy)
    with pytest.raises(FatalSinkError, match=r"copy\.parquet .* readers would count it"):
        make().open()
    copy.unlink()
    assert make().open().delivered == 6


def test_other_files_and_hidden_ones_do_not_matter(make: Opener, filled: Path) -> None:
    (filled / "README.txt").write_text("ask Anna")
    (filled / "month=2026-09" / ".DS_Store").write_text("")
    sink = make()
    sink.open()
    sink.deliver(batch_of([completed(9)]))
    assert (filled / "README.txt").read_text() == "ask Anna"


def test_a_stranger_that_takes_the_place_of_the_next_file_is_not_overwritten(
    make: Opener, filled: Path
) -> None:
    sink = make()
    sink.open()
    place = filled / "month=2026-11" / "usage-00000002.parquet"
    place.write_bytes(b"theirs")
    with pytest.raises(FatalSinkError, match="stands in the way"):
        sink.deliver(batch_of([completed(9)]))
    assert place.read_bytes() == b"theirs"
    with pytest.raises(FatalSinkError, match="stands in the way"):
        make().open()
    place.unlink()
    again = make()
    again.open()
    assert again.deliver(batch_of([completed(9)])).duplicate
    assert ids(filled) == [*(f"{n:04}" for n in range(6)), "9"]


def test_another_sinks_folder_is_refused(make: Opener, filled: Path) -> None:
    before = files(filled)
    other = make("other")
    for question in (other.open, other.check):
        with pytest.raises(FatalSinkError, match="is written by the sink 'out'"):
            question()
    assert files(filled) == before


def test_two_sinks_that_meet_in_an_empty_folder_do_not_share_it(make: Opener, folder: Path) -> None:
    one = make()
    one.open()
    with pytest.raises(FatalSinkError, match="is written by the sink 'out'"):
        make("other").open()
    one.deliver(batch_of([completed(1)]))
    assert ids(folder) == ["1"]


def test_another_journals_folder_is_not_touched(make: Opener, filled: Path) -> None:
    (filled / "_meter" / "left.part").write_text("its own affair")
    other = make(journal_id="another")
    position = other.open()
    assert (position.journal_id != "another", position.delivered) == (True, 6)
    with pytest.raises(RetryableSinkError, match="was replaced"):
        other.deliver(batch_of([completed(9)]))
    assert parts(filled) == ["left.part"]


def test_a_folder_of_a_newer_meter_is_refused(make: Opener, filled: Path) -> None:
    with sqlite3.connect(filled / "_meter" / "books.db") as connection:
        connection.execute("UPDATE folder SET layout = ?", (LAYOUT + 1,))
    connection.close()
    with pytest.raises(FatalSinkError, match="was written by a newer meter"):
        make().open()


# -- damage --------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["text", "torn"])
def test_damaged_books_park_the_sink_and_say_what_to_do(
    make: Opener, filled: Path, damage: str
) -> None:
    books = filled / "_meter" / "books.db"
    whole = books.read_bytes()
    books.write_bytes(b"no database" * 99 if damage == "text" else whole[:4096] + b"\x99" * 8192)
    with pytest.raises(FatalSinkError, match=r"is damaged .* move the folder away"):
        make().open()
    books.write_bytes(whole)
    assert make().open().delivered == 6


@pytest.mark.parametrize("lost", ["_meter", "_meter/books.db"])
def test_lost_books_park_the_sink_as_long_as_their_files_are_there(
    make: Opener, filled: Path, lost: str
) -> None:
    whole = filled.with_name("whole")
    shutil.copytree(filled, whole)
    away = filled / lost
    shutil.rmtree(away) if away.is_dir() else away.unlink()
    with pytest.raises(FatalSinkError, match="If the books are lost, move the whole folder away"):
        make().open()
    shutil.rmtree(filled)
    whole.rename(filled)
    assert make().open().delivered == 6


def test_a_part_that_a_crash_left_is_removed(make: Opener, filled: Path) -> None:
    left = filled / "_meter" / "month=2026-11,usage-00000002.part"
    left.write_bytes(b"PAR1 torn")
    sink = make()
    sink.open()
    assert not left.exists()
    sink.deliver(batch_of([completed(9)]))
    assert ids(filled)[-1] == "9"


def test_a_file_that_is_gone_from_among_others_parks_the_sink_until_it_is_back(
    make: Opener, filled: Path
) -> None:
    sink = make()
    sink.open()
    sink.deliver(batch_of([of_month(6)], first=7))
    name = files(filled)[0]
    (filled / name).rename(filled.with_name("gone"))
    with pytest.raises(FatalSinkError, match=rf"{name} is gone \(2 events\); put it back"):
        make().open()
    filled.with_name("gone").rename(filled / name)
    assert make().open().delivered == 7


def test_a_file_of_another_length_parks_the_sink(make: Opener, filled: Path) -> None:
    with (filled / files(filled)[0]).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(FatalSinkError, match="put the file back as it was"):
        make().open()


def test_a_month_that_was_moved_away_is_archived_and_told(make: Opener, filled: Path) -> None:
    archive = (filled / "month=2026-09").rename(filled.with_name("archive"))
    sink = make()
    assert sink.open().delivered == 6
    (_, line) = sink.status()
    assert line.endswith("readers of the folder lack them: month=2026-09 (2 events)")
    assert len(sink.deliver(batch_of(SIX)).duplicate) == 6
    sink.deliver(batch_of([of_month(6)], first=7))
    assert ids(filled) == ["0001", "0002", "0004", "0005", "0006"]
    assert make().open().delivered == 7
    (archive / "usage-00000001.parquet").rename(filled / "month=2026-09" / "usage-00000001.parquet")
    again = make()
    again.open()
    assert len(again.status()) == 1
    assert ids(filled) == [f"{n:04}" for n in range(7)]


def test_a_folder_that_is_moved_away_while_meter_runs_is_begun_anew(
    make: Opener, filled: Path
) -> None:
    sink = make()
    sink.open()
    filled.rename(filled.with_name("archive"))
    with pytest.raises(RetryableSinkError, match="No such file"):
        sink.deliver(batch_of([completed(9)]))
    filled.mkdir()
    again = make()
    assert again.open() == Position(again.context.journal_id, 0, 0)
    with pytest.raises(RetryableSinkError, match="was replaced; opening the new one"):
        sink.deliver(batch_of([completed(9)]))
    again.deliver(batch_of([completed(9)]))
    assert ids(filled) == ["9"]


def test_an_older_copy_of_the_folder_says_that_it_lacks_something(
    make: Opener, filled: Path
) -> None:
    older = filled.with_name("older")
    shutil.copytree(filled, older)
    sink = make()
    sink.open()
    sink.deliver(batch_of([completed(9)], first=7))
    sink.close()
    shutil.rmtree(filled)
    older.rename(filled)
    again = make()
    assert again.open() == Position(again.context.journal_id, 6, 6)
    assert again.deliver(batch_of([completed(9)], first=7)).delivered


# -- check ---------------------------------------------------------------------------------


def test_check_says_what_it_found_and_leaves_nothing(make: Opener, folder: Path) -> None:
    sink = make()
    assert sink.check() == (f"{folder} can be made",)
    assert not folder.parent.exists()
    folder.mkdir(parents=True)
    assert sink.check() == (f"{folder} can be written",)
    assert list(folder.iterdir()) == []
    sink.open()
    sink.deliver(batch_of(SIX))
    assert make().check() == (f"{folder} can be written; 6 events in 3 files",)


def test_check_claims_no_folder_that_a_crash_left_without_a_beginning(
    make: Opener, folder: Path
) -> None:
    (folder / "_meter").mkdir(parents=True)
    (folder / "_meter" / "books.db").touch()
    assert make("other", journal_id="another").check() == (f"{folder} can be written",)
    assert make().open().delivered == 0


def test_the_sandbox_needs_nothing_changed(make: Opener) -> None:
    options = make().options
    assert type(make()).sandboxed(options, {}) is options
