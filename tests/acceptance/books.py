"""What stands in the journal, in the SQLite sink and in the CSV files, read without meter."""

import csv
import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from meter.sandbox.jobs import Truth

HEADER = [
    "event_id",
    "kind",
    "customer_id",
    "seconds",
    "provider_id",
    "collector",
    "occurred_at",
    "recorded_at",
    "model",
    "audio_seconds",
    "dimensions",
]
"""DESIGN §12."""


class Usage(NamedTuple):
    """What a bill needs of one event, exactly."""

    event_id: str
    customer_id: str
    seconds: Decimal
    dimensions: str


def usage(transcript_id: str, customer_id: str, seconds: object, **dimensions: str) -> Usage:
    return Usage(
        f"assemblyai:transcript:{transcript_id}",
        customer_id,
        Decimal(str(seconds)),
        _canonical(dimensions),
    )


def billed(truth: Iterable[Truth]) -> list[Usage]:
    """Return what the sinks must hold of a double's ledger, by event id."""
    found = []
    for row in truth:
        if row.seconds is not None and row.webhook_url is not None:
            query = {n: v[0] for n, v in parse_qs(urlsplit(row.webhook_url).query).items()}
            found.append(usage(row.transcript_id, query.pop("customer_id"), row.seconds, **query))
    return sorted(found)


def rows(path: Path, sql: str, *parameters: object) -> list[Any]:
    """Ask a SQLite file beside whoever writes it; no file yet is no rows."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as connection:
        return connection.execute(sql, parameters).fetchall()


def in_sqlite(path: Path) -> list[Usage]:
    """Return the rows of the `usage` table, by event id, repeats included."""
    if not rows(path, "SELECT 1 FROM sqlite_master WHERE name = 'usage'"):
        return []
    found = rows(path, "SELECT event_id, customer_id, seconds, dimensions FROM usage")
    return sorted(Usage(i, c, Decimal(s), _canonical(json.loads(d))) for i, c, s, d in found)


def in_csv(folder: Path) -> list[Usage]:
    """Return the rows of every CSV file, by event id, repeats included.

    Every file must be whole: one header, first; eleven fields a row; the last line ended.
    """
    found = []
    for path in sorted(folder.rglob("*.csv")):
        data = path.read_bytes()
        assert data.endswith(b"\r\n"), f"{path.name} ends within a row"
        header, *lines = list(csv.reader(data.decode().splitlines(keepends=True), strict=True))
        assert header == HEADER, path.name
        for line in lines:
            assert len(line) == len(HEADER), f"{path.name}: {line}"
            row = dict(zip(HEADER, line, strict=True))
            assert row["kind"] in ("async_completed", "stream_terminated"), f"{path.name}: {line}"
            customer = row["customer_id"].removeprefix("'")
            dimensions = _canonical(json.loads(row["dimensions"]))
            found.append(Usage(row["event_id"], customer, Decimal(row["seconds"]), dimensions))
    return sorted(found)


def csv_lines(folder: Path) -> int:
    """Count the lines below the headers, for waiting: a row may be half written just now."""
    return sum(max(0, path.read_bytes().count(b"\n") - 1) for path in folder.rglob("*.csv"))


def rows_delivered(folder: Path) -> tuple[int, int]:
    """Count what SQLite and CSV hold, for waiting."""
    known = rows(folder / "usage.db", "SELECT 1 FROM sqlite_master WHERE name = 'usage'")
    (ledger,) = rows(folder / "usage.db", "SELECT count(*) FROM usage")[0] if known else (0,)
    return ledger, csv_lines(folder / "exports")


def _canonical(dimensions: object) -> str:
    return json.dumps(dimensions, sort_keys=True, ensure_ascii=False)
