"""The sink by the real command, and what docs/parquet.md shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from meter.events import Event, encode_event
from parquet.conftest import of_month
from parquet.reading import ask, files, ids

PAGE = (Path(__file__).parents[2] / "docs" / "parquet.md").read_text()
METER = Path(sys.executable).with_name("meter")
NO_PYARROW = "import sys\nsys.modules['pyarrow'] = None\n"
ADVICE = "sinks.lake: needs pyarrow, which is not installed: pip install 'pyarrow>=21'"


def shown(name: str) -> str:
    (found,) = re.findall(
        rf"<!-- runs: {name} -->\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE
    )
    return str(found)


def meter(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [METER, *arguments],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def write(folder: Path, events: list[Event]) -> None:
    lines = b"".join(encode_event(event) + b"\n" for event in events)
    (folder / "events.jsonl").write_bytes(lines)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "pipelines.yaml").write_text(shown("pipelines"))
    return tmp_path


@pytest.fixture
def inside(place: Path) -> Iterator[Path]:
    """The pages' queries name the folder as somebody does who stands beside it."""
    before = Path.cwd()
    os.chdir(place)
    yield place
    os.chdir(before)


def test_what_the_page_shows_runs_and_sums_exactly(inside: Path) -> None:
    tenth = Decimal("0.1")
    dimensions = [{"project_id": "a"}, {"project_id": "b"}, {}]
    events = [of_month(n, seconds=tenth, dimensions=dimensions[n // 3 % 3]) for n in range(60)]
    write(inside, [*events, of_month(60, customer_id="zürich", seconds=Decimal("1E-9"))])
    assert meter(inside, "run", "--once").returncode == 0
    assert ask(shown("by month")) == [
        ("acme", "2026-09", 20, Decimal(2)),
        ("zürich", "2026-09", 1, Decimal("1E-9")),
        ("acme", "2026-10", 20, Decimal(2)),
        ("acme", "2026-11", 20, Decimal(2)),
    ]
    assert ask(shown("by project")) == [
        ("a", Decimal("0.7")),
        ("b", Decimal("0.7")),
        (None, Decimal("0.6")),
    ]
    ask(shown("copy"))
    assert ask("SELECT sum(seconds), count(*) FROM 'usage-2026-10.parquet'") == [(Decimal(2), 20)]
    described = ask("DESCRIBE FROM 'usage/*/*.parquet'")
    types = {name: kind for name, kind, *_ in described}
    assert types.pop("month") == "VARCHAR"
    for name, kind in types.items():
        wanted = kind.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMP")
        assert re.search(rf"^\|.*`{name}`.*\| {re.escape(wanted)}", PAGE, re.MULTILINE), name


def test_the_page_lists_the_columns_that_duckdb_is_given_and_no_others() -> None:
    from meter_parquet.rows import COLUMNS

    table = PAGE[PAGE.index("| column |") : PAGE.index("No event has more")]
    first = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    assert tuple(re.findall(r"`(\w+)`", first)) == COLUMNS


def test_running_again_adds_what_is_new_and_nothing_else(place: Path) -> None:
    write(place, [of_month(n) for n in range(6)])
    assert meter(place, "run", "--once").returncode == 0
    before = files(place / "usage")
    assert len(before) == 3
    assert meter(place, "run", "--once").returncode == 0
    assert files(place / "usage") == before
    write(place, [of_month(n) for n in range(7)])
    assert meter(place, "run", "--once").returncode == 0
    assert ids(place / "usage") == [f"{n:04}" for n in range(7)]
    status = json.loads(meter(place, "status", "--json").stdout)
    (line,) = status["sinks"]["lake"]
    assert "last wrote 1 events at" in line
    checked = meter(place, "check", "--connect")
    assert checked.returncode == 0
    assert "usage can be written; 7 events in 4 files" in checked.stdout


def test_without_pyarrow_check_says_what_to_install(place: Path) -> None:
    (place / "sitecustomize.py").write_text(NO_PYARROW)
    for command in (("check",), ("run", "--once")):
        told = meter(place, *command, PYTHONPATH=str(place))
        assert told.returncode == 2
        assert ADVICE in told.stderr
    assert meter(place, "plugins", PYTHONPATH=str(place)).returncode == 0


def test_no_command_imports_pyarrow_before_a_sink_is_opened() -> None:
    script = (
        "import sys\n"
        "from meter.plugins import load_plugins\n"
        "load_plugins().sinks.found['parquet'].cls.Options(path='x')\n"
        "sys.exit('pyarrow' in sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert ran.returncode == 0
