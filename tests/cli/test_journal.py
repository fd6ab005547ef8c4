"""`meter journal check` and `copy`: what is wrong is told, and a copy is one moment."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from cli.journal_site import contents, meter, rows, run_once, site
from meter.events import encode_event
from meter.journal import Journal
from support.facts import completed


def test_a_sound_journal_is_told_so_and_what_is_wrong_with_what_to_do(full: Path) -> None:
    sound = meter(full, "journal", "check").stdout
    assert " 18 events, 3 sinks, 4 receipts, 4 sessions, 4 in quarantine\n" in sound
    assert sound.endswith("\nall is well\n")
    document = json.loads(meter(full, "journal", "check", "--json", "--quick").stdout)
    assert (document["sound"], document["findings"]) == (True, [])
    with closing(sqlite3.connect(full / "m.db")) as connection:
        connection.execute("UPDATE usage_months SET seconds = seconds + 1 WHERE series = 1")
        connection.execute("DELETE FROM events WHERE event_id LIKE '%session:closed'")
        connection.commit()
    wrong = meter(full, "journal", "check", exits=1).stdout
    assert "gap: events that were recorded are missing: 1\n  means: somebody deleted" in wrong
    assert "rollup: " in wrong
    assert "orphan: sessions are closed without the event that closed them\n  assembly" in wrong
    assert "  what to do: it is made again from the events by: meter journal check" in wrong
    repaired = meter(full, "journal", "check", "--repair", exits=1).stdout
    assert repaired.startswith("made again from the events: sums of usage\n")
    assert "rollup: " not in repaired
    assert "the journal" in meter(full, "acts").stdout


def test_a_journal_that_is_none_exits_4(full: Path) -> None:
    (full / "m.db").write_bytes(b"x" * 5000)
    assert "m.db" in meter(full, "journal", "check", exits=4).output
    (full / "m.db").unlink()
    for command in (["check"], ["export"], ["copy", "x.db"]):
        ran = meter(full, "journal", *command, exits=4)
        assert "there is no journal at" in ran.output
    assert sorted(path.name for path in full.iterdir()) == ["empty.jsonl", "pipelines.yaml"]


# -- copy


def test_a_copy_beside_a_writer_is_one_moment_and_refuses_to_overwrite(
    full: Path, opened: Callable[[Path], Journal]
) -> None:
    journal = opened(full)
    journal.append([completed("in the log still")]).wait()
    expected = contents(full)
    told = meter(full, "journal", "copy", "copy.db").stdout
    assert told.startswith("copy.db: 19 events up to offset ")
    assert told.endswith(" bytes, checked\n")
    journal.append([completed("after the copy")]).wait()
    copied = full / "copied"
    site(copied, full / "copy.db")
    assert contents(copied) == expected
    again = opened(copied)
    assert again.journal_id == journal.journal_id
    assert again.totals().balances == journal.totals().balances or again.head() < journal.head()
    looked = meter(full / "copied", "journal", "check", "--file", "../copy.db", "nowhere.yaml")
    assert looked.stdout.startswith("../copy.db: ")
    lines = meter(full, "journal", "export", "--file", "copy.db", "--events-only").stdout
    assert lines.count("\n") == len(expected["events"])
    refused = meter(full, "journal", "copy", "copy.db", exits=2)
    assert "is there already" in refused.output
    names = {path.name for path in full.iterdir() if "copy" in path.name}
    assert names == {"copy.db"}
    assert (full / "copy.db").stat().st_mode & 0o777 == 0o600


def test_a_damaged_journal_gives_no_copy(full: Path) -> None:
    with closing(sqlite3.connect(full / "m.db")) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'acts_by_offset'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with (full / "m.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x00" * size)
    assert "meter journal check" in meter(full, "journal", "copy", "c.db", exits=4).output
    assert not [path for path in full.iterdir() if "c.db" in path.name]


def test_a_journal_with_an_index_that_is_not_its_tables_gives_no_copy(full: Path) -> None:
    with closing(sqlite3.connect(full / "m.db")) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, '(started_at)', '(expires_at)')"
            " WHERE name = 'sessions_by_start'"
        )
        connection.commit()
    told = meter(full, "journal", "copy", "c.db", exits=4).output
    assert "the copy is not sound, so the journal is not" in told
    assert not [path for path in full.iterdir() if "c.db" in path.name]


def test_after_an_older_copy_is_put_back_a_sink_that_is_ahead_says_so_and_fills_a_new_one(
    full: Path, opened: Callable[[Path], Journal]
) -> None:
    run_once(full, exits=1)
    meter(full, "journal", "copy", "copy.db")
    journal = opened(full)
    journal.append([completed("lost", collector="import"), completed("lost too")]).wait()
    journal.close()
    run_once(full, exits=1)
    for path in full.glob("m.db*"):
        path.unlink()
    (full / "copy.db").rename(full / "m.db")
    said = run_once(full, exits=1)
    assert "parked: the destination has events up to offset" in said
    (full / "usage.db").rename(full / "usage-before.db")
    assert "sink ledger" not in run_once(full, exits=1)
    ids = "SELECT event_id FROM usage ORDER BY 1"
    kept = rows(full / "usage.db", ids)
    assert len(kept) == 15
    both = (full / "both.jsonl").write_bytes(
        b"\n".join(encode_event(e) for e in (completed("lost"), completed("lost too")))
    )
    assert both
    run_once(full, full / "both.jsonl", exits=1)
    assert rows(full / "usage.db", ids) == rows(full / "usage-before.db", ids)
