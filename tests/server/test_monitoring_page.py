"""docs/monitoring.md says what is so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from alerts_table import all_alerts
from meter.config import ServerOptions
from meter.server.catalogue import CATALOGUE, PROCESS
from metrics_table import all_metrics

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "monitoring.md").read_text()
PROSE = re.sub(r"^```.*?^```$", "", PAGE, flags=re.DOTALL | re.MULTILINE)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_its_tables_are_those_of_the_code() -> None:
    assert all_metrics() in PAGE
    assert all_alerts() in PAGE
    for metric in (*CATALOGUE, *PROCESS):
        assert f"| `{metric.name}` | {metric.kind} |" in PAGE


def test_the_metrics_that_it_names_exist() -> None:
    named = set(re.findall(r"\bmeter_[a-z]+_[a-z_]+\b", PROSE)) - {"meter_metrics_secret"}
    assert len(named) > 20
    assert named <= {metric.name for metric in CATALOGUE}


def test_the_log_events_that_it_names_are_logged() -> None:
    code = "".join(path.read_text() for path in (ROOT / "meter").rglob("*.py"))
    (sentence,) = re.findall(r"Lines that deserve an alert.*?\.\n\n", PROSE, re.DOTALL)
    names = re.findall(r"`([a-z]+\.[a-z_]+)`", sentence)
    assert len(names) == 6
    assert all(f'"{name}"' in code for name in names)


def test_the_configurations_shown_are_right() -> None:
    ours, prometheus = (yaml.safe_load(block) for block in blocks("yaml"))
    assert ours["server"].keys() <= ServerOptions.model_fields.keys()
    (job,) = prometheus["scrape_configs"]
    assert job["job_name"] == "meter", "as in the rule MeterDown"
    assert job["authorization"]["type"] == "Bearer"


def test_the_line_shown_has_the_fields_that_the_table_explains() -> None:
    (line,) = blocks("json")
    explained = set(re.findall(r"^\| `(\w+)`", PROSE.partition("## Every metric")[0], re.MULTILINE))
    explained |= {"error", "reason"}
    assert json.loads(line).keys() <= explained
