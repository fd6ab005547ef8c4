"""`--once` reads what there is, delivers it and ends; bad lines are kept aside."""

import json
from pathlib import Path
from typing import Any

import pytest

from acceptance import books
from acceptance.events import events, write_events
from acceptance.process import Meter, pipelines

pytestmark = pytest.mark.acceptance

BAD_LINES: dict[int, bytes] = {
    1: b"not json",
    4: b'{"kind":"async_completed"}',
    5: b'{"kind":"something_else"}',
    9: b"[]",
    10: b"\xff\xfe",
    13: b'{"kind":"async_completed","seconds":-1}',
}


def an_import(meter: Meter, path: str) -> Meter:
    return meter.configure(pipelines(collectors={"import": {"type": "jsonl", "path": path}}))


def mixed(path: Path) -> tuple[bytes, list[books.Usage]]:
    """Return lines of which some are bad, at the numbers of BAD_LINES, and what the rest is."""
    expected = write_events(path, events(20))
    good = path.read_bytes().splitlines()
    lines = [BAD_LINES.get(n) or good.pop(0) for n in range(1, 21 + len(BAD_LINES))]
    return b"\r\n".join(lines), expected


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("path", ["mixed.jsonl", "-"])
def test_bad_lines_are_reported_with_their_numbers_and_the_rest_is_delivered(
    meter: Meter, path: str
) -> None:
    data, expected = mixed(meter.folder / "good.jsonl")
    an_import(meter, path)
    if path == "-":
        done = meter.once(stdin=data)
    else:
        (meter.folder / path).write_bytes(data)
        done = meter.once()
    assert done.returncode == 1, done.stderr
    assert f"{len(BAD_LINES)} more in quarantine" in done.stderr
    reported = [
        line["line"] for line in json_lines(done.stderr) if line["event"] == "jsonl.bad_line"
    ]
    assert reported == list(BAD_LINES)
    code, status = meter.status()
    assert (code, status["quarantined"]) == (0, {"import": len(BAD_LINES)})
    assert status["events"] == {"async_completed": len(expected)}
    assert books.in_sqlite(meter.folder / "usage.db") == expected
    assert books.in_csv(meter.folder / "exports") == expected


def test_the_same_file_again_changes_nothing(meter: Meter) -> None:
    data, expected = mixed(meter.folder / "good.jsonl")
    (meter.folder / "mixed.jsonl").write_bytes(data)
    an_import(meter, "mixed.jsonl")
    assert [meter.once().returncode for _ in range(3)] == [1, 0, 0]
    assert meter.status()[1]["quarantined"] == {"import": len(BAD_LINES)}
    assert books.in_sqlite(meter.folder / "usage.db") == expected
    assert books.in_csv(meter.folder / "exports") == expected


def test_a_file_that_is_not_there_exits_1_and_says_which(meter: Meter) -> None:
    done = an_import(meter, "nowhere.jsonl").once()
    assert done.returncode == 1
    assert "nowhere.jsonl" in done.stderr
    assert "Traceback" not in done.stderr
