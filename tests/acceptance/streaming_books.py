"""What was recorded of streaming sessions: in the journal, in SQLite and in the CSV files."""

import csv
import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from acceptance.books import rows

BILLED = "stream_terminated"
ABANDONED = "stream_abandoned"
UNSEEN = "a session was asked of AssemblyAI"
"""So begins what quarantine says of a session whose Begin meter never saw."""


class Billed(NamedTuple):
    """What a bill needs of one session, exactly; `audio_seconds` stands beside it."""

    event_id: str
    customer_id: str
    seconds: Decimal
    audio_seconds: Decimal
    dimensions: str


def billed(
    session_id: str,
    customer_id: str,
    seconds: object,
    audio_seconds: object,
    dimensions: Mapping[str, str],
) -> Billed:
    return Billed(
        f"assemblyai:session:{session_id}",
        customer_id,
        Decimal(str(seconds)),
        Decimal(str(audio_seconds)),
        json.dumps(dimensions, sort_keys=True, ensure_ascii=False),
    )


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Return the journal's events of a kind, numbers exact, in the order of their offsets."""
    found = rows(folder / "meter.db", "SELECT body FROM events ORDER BY offset")
    bodies = [json.loads(body, parse_float=Decimal, parse_int=Decimal) for (body,) in found]
    return [body for body in bodies if body["kind"] == kind]


def in_journal(folder: Path) -> list[Billed]:
    return sorted(
        billed(
            body["provider_id"],
            body["customer_id"],
            body["seconds"],
            body["audio_seconds"],
            body["dimensions"],
        )
        for body in events(folder, BILLED)
    )


def in_sinks(folder: Path) -> tuple[list[Billed], list[Billed]]:
    """Return what the SQLite file and the CSV files hold, by event id, repeats included."""
    sql = "SELECT provider_id, customer_id, seconds, audio_seconds, dimensions FROM usage"
    export = [
        (r["provider_id"], r["customer_id"], r["seconds"], r["audio_seconds"], r["dimensions"])
        for path in sorted((folder / "exports").rglob("*.csv"))
        for r in csv.DictReader(path.read_bytes().decode().splitlines(keepends=True), strict=True)
    ]
    ledger, exported = (
        sorted(billed(i, c, s, a, json.loads(d)) for i, c, s, a, d in found)
        for found in (rows(folder / "usage.db", sql), export)
    )
    return ledger, exported


@dataclasses.dataclass
class Found:
    """All that meter's journal says, laid out by session and by customer."""

    states: dict[str, list[str]]
    bills: dict[str, list[dict[str, Any]]]
    bounds: dict[str, list[dict[str, Any]]]
    unseen: Counter[str]
    unusable: Counter[str]
    other: list[tuple[str, str]]


def found_in(folder: Path) -> Found:
    journal = folder / "meter.db"
    found = Found(defaultdict(list), defaultdict(list), defaultdict(list), Counter(), Counter(), [])
    for session_id, state in rows(journal, "SELECT provider_id, state FROM sessions"):
        found.states[session_id].append(state)
    for event in events(folder, BILLED):
        found.bills[event["provider_id"]].append(event)
    for event in events(folder, ABANDONED):
        found.bounds[event["provider_id"]].append(event)
    sql = "SELECT key, reason, provider_id, payload, state FROM quarantine"
    for key, reason, session_id, payload, state in rows(journal, sql):
        if reason.startswith(UNSEEN) and state == "open":
            found.unseen[json.loads(payload)["customer_id"]] += 1
        elif key.startswith("unusable-Termination:"):
            found.unusable[session_id] += 1
        else:
            found.other.append((key, reason))
    return found
