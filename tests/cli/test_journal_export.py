"""`meter journal export`: what goes out comes back in, the same."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cli.desk_site import METER
from cli.journal_site import contents, meter, read_in, rows, run_once
from meter.clock import SystemClock
from meter.errors import CollectorError
from meter.events import decode_event, encode_event
from meter.journal import Journal, Quarantined, Settlement
from support.facts import begun, completed, terminated


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz"])
def test_an_export_read_into_an_empty_journal_gives_the_same_and_twice_changes_nothing(
    full: Path, empty: Path, tmp_path: Path, name: str
) -> None:
    export = tmp_path / name
    said = meter(full, "journal", "export", "-o", str(export)).stderr
    expected = contents(full)
    assert all(expected.values()), "something of everything"
    assert f"{len(expected['events'])} events to {export}" in said
    counts = read_in(empty, export)
    assert counts == {
        "recorded": len(expected["events"]),
        "duplicate": 0,
        "conflict": 0,
        "quarantined": 0,
    }
    assert contents(empty) == expected
    with closing(sqlite3.connect(empty / "m.db")) as connection:
        before = list(connection.iterdump())
    assert read_in(empty, export)["duplicate"] == len(expected["events"])
    with closing(sqlite3.connect(empty / "m.db")) as connection:
        after = [line for line in connection.iterdump() if "sqlite_sequence" not in line]
    assert after == [line for line in before if "sqlite_sequence" not in line]
    again = tmp_path / "again.jsonl"
    meter(empty, "journal", "export", "-o", str(again))
    written = export.read_bytes()
    lines = (gzip.decompress(written) if name.endswith(".gz") else written).splitlines()
    assert again.read_bytes().splitlines()[1:] == lines[1:], "but for which journal it is"


def test_usage_and_what_sinks_get_are_the_same_from_an_imported_journal(
    full: Path, empty: Path, tmp_path: Path
) -> None:
    export = tmp_path / "all.jsonl"
    meter(full, "journal", "export", "-o", str(export))
    run_once(full, exits=1)
    run_once(empty, export, exits=1)
    everything = "SELECT * FROM usage ORDER BY event_id"
    expected = rows(full / "usage.db", everything)
    assert len(expected) == 15
    assert rows(empty / "usage.db", everything) == expected
    for by in ("customer,month", "day,kind", "model,dimension.project_id"):
        asked = ("usage", "--by", by, "--format", "json", "--tz", "Pacific/Auckland")
        assert meter(empty, *asked).stdout == meter(full, *asked).stdout
    assert meter(empty, "journal", "check", "--json").exit_code == 0


def test_an_export_is_lines_of_json_with_a_first_and_a_last(full: Path) -> None:
    lines = [json.loads(line) for line in meter(full, "journal", "export").stdout.splitlines()]
    first, last = lines[0], lines[-1]
    events = [line for line in lines if "kind" in line]
    others = [line["journal"] for line in lines[1:-1] if "journal" in line]
    assert (first["journal"], first["whole"], first["after"]) == ("export", True, 0)
    assert (last["journal"], last["events"], last["others"]) == ("end", len(events), len(others))
    assert set(others) == {"session", "quarantined", "receipt", "watched", "collector"}
    only = meter(full, "journal", "export", "--events-only").stdout.splitlines()
    assert [json.loads(line) for line in only] == events


def test_on_a_terminal_nothing_can_move_its_cursor_and_it_is_the_same_json(
    full: Path, opened: Callable[[Path], Journal]
) -> None:
    names = "\x9b2J\x7f\u202eevil 🙂 \x1b[2J"
    opened(full).append([completed("x", customer_id=names)]).wait()
    main, terminal = os.openpty()
    command = [str(METER), "journal", "export", "--customer", names]
    ran = subprocess.run(command, cwd=full, stdout=terminal, timeout=60, check=True)
    os.close(terminal)
    shown = os.read(main, 10_000).decode()
    os.close(main)
    assert ran.returncode == 0
    assert all(c.isprintable() or c in "\r\n" for c in shown)
    assert json.loads(shown.splitlines()[1])["customer_id"] == names


def test_some_events_can_be_chosen_and_then_nothing_else_is_told(full: Path) -> None:
    def chosen(*options: str) -> list[str]:
        out = meter(full, "journal", "export", *options, "--events-only").stdout
        return [decode_event(line).provider_id for line in out.splitlines()]

    assert chosen("--customer", "customer-2") == ["2", "5", "8", "11"]
    assert chosen("--kind", "stream_terminated") == ["closed"]
    assert chosen("--from", "2026-11-25", "--to", "2026-11-25T13:00") == ["9", "10"]
    offset = rows(full / "m.db", "SELECT max(offset) FROM events")[0][0]
    assert chosen("--since-offset", str(offset - 1)) == ["beyond the sums"]
    assert chosen("--since-offset", str(offset)) == []
    lines = meter(full, "journal", "export", "--customer", "customer-2").stdout.splitlines()
    assert json.loads(lines[0])["whole"] is False
    assert [json.loads(line).get("journal") for line in lines[1:]] == [None] * 4 + ["end"]


def test_exports_of_what_came_later_add_up_to_the_whole(
    full: Path, empty: Path, tmp_path: Path, opened: Callable[[Path], Journal]
) -> None:
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    said = meter(full, "journal", "export", "-o", str(first)).stderr
    offset = said.rsplit(" ", 1)[1].strip()
    opened(full).append([completed("later"), terminated("open")]).wait()
    meter(full, "journal", "export", "-o", str(second), "--since-offset", offset)
    assert read_in(empty, first)["recorded"]
    assert read_in(empty, second)["recorded"] == 2
    assert contents(empty)["events"] == contents(full)["events"]
    assert [s[9] for s in contents(empty)["sessions"]] == [s[9] for s in contents(full)["sessions"]]


def test_half_an_export_is_told_and_what_it_has_is_taken(
    full: Path, empty: Path, tmp_path: Path, opened: Callable[[Path], Journal]
) -> None:
    whole, half = tmp_path / "all.jsonl", tmp_path / "half.jsonl"
    meter(full, "journal", "export", "-o", str(whole))
    lines = whole.read_bytes().splitlines(keepends=True)
    journal = opened(empty)

    def trouble() -> str:
        return journal.totals().collectors.get("import", "none")

    half.write_bytes(b"".join(lines[:5]))
    assert read_in(empty, half)["recorded"] == 4
    assert trouble() == (f"{half}: this export is cut short; what it has was taken; export again")
    half.write_bytes(b"".join(lines[:3] + lines[4:]))
    read_in(empty, half)
    assert trouble().endswith("that can be read; export again")
    packed = tmp_path / "half.jsonl.gz"
    packed.write_bytes(gzip.compress(whole.read_bytes())[:-20])
    with pytest.raises(CollectorError, match="reading stopped"):
        read_in(empty, packed)
    read_in(empty, whole)
    assert trouble() == "none", "the whole one puts it right"


def test_lines_that_are_no_export_of_ours_go_to_quarantine(
    empty: Path, tmp_path: Path, opened: Callable[[Path], Journal]
) -> None:
    strange = tmp_path / "strange.jsonl"
    strange.write_bytes(
        b'{"journal":"something new"}\n'
        b'{"journal":"session","provider_id":"s"}\n'
        b'{"journal":"export","format":2,"journal_id":"x","after":0,"head":1,"whole":true}\n'
        + encode_event(completed(1))
        + b"\n"
    )
    counts = read_in(empty, strange)
    assert (counts["recorded"], counts["quarantined"]) == (1, 3)
    journal = opened(empty)
    assert journal.sessions.find("s") is None
    reasons = " ".join(entry.reason for entry in journal.aside.entries(limit=9))
    assert "by a newer meter (format 2); update meter" in reasons


def test_a_session_that_comes_in_never_opens_what_has_ended_nor_changes_whose_it_is(
    full: Path, empty: Path, tmp_path: Path, opened: Callable[[Path], Journal]
) -> None:
    export = tmp_path / "all.jsonl"
    meter(full, "journal", "export", "-o", str(export))
    journal = opened(empty)
    journal.append([terminated("open"), terminated("abandoned", customer_id="another")]).wait()
    journal.sessions.open(begun("aside", customer_id="another")).wait()
    read_in(empty, export)
    found = {s.provider_id: (s.state, s.customer_id) for s in journal.sessions.list(limit=9)}
    assert found == {
        "open": ("closed", "acme"),
        "aside": ("open", "another"),
        "closed": ("closed", "acme"),
    }


def test_a_file_is_there_whole_or_not_at_all_and_only_its_owners(
    full: Path, tmp_path: Path
) -> None:
    export = tmp_path / "out" / "all.jsonl"
    assert "check the folder" in meter(full, "journal", "export", "-o", str(export), exits=2).output
    export.parent.mkdir()
    meter(full, "journal", "export", "-o", str(export))
    assert export.stat().st_mode & 0o777 == 0o600
    before = export.read_bytes()
    refused = meter(full, "journal", "export", "-o", str(export), exits=2)
    assert "is there already" in refused.output
    ours = meter(full, "journal", "export", "-o", "m.db", "--replace", exits=2)
    assert "m.db is what is to be exported" in ours.output
    with closing(sqlite3.connect(full / "m.db")) as connection:
        connection.execute("UPDATE sessions SET dimensions = '{' WHERE state = 'open'")
        connection.commit()
    broken = meter(full, "journal", "export", "-o", str(export), "--replace", exits=4)
    assert "look with: meter journal check" in broken.output
    assert export.read_bytes() == before
    assert [path.name for path in export.parent.iterdir()] == ["all.jsonl"]


def test_quarantine_that_was_discarded_stays_so_in_the_other_journal(
    full: Path, empty: Path, tmp_path: Path, opened: Callable[[Path], Journal]
) -> None:
    export = tmp_path / "all.jsonl"
    meter(full, "journal", "export", "-o", str(export))
    journal = opened(empty)
    journal.quarantine([Quarantined("transcripts", "line:1", "mine", "{}")]).wait()
    read_in(empty, export)
    states = {e.key: (e.state, e.reason) for e in journal.aside.entries(states=(), limit=99)}
    assert states["line:1"] == ("open", "mine"), "what is there already stays as it is"
    journal.register_sink("x", "t", skip_existing=False, not_before=None).wait()
    journal.settle(Settlement("x", "new", 1, SystemClock().now(), delivered=[1])).wait()
    assert journal.totals().quarantined["transcripts"] == 3
