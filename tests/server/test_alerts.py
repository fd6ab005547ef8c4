"""The alert rules and the dashboard in docs/monitoring, held against real runs."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from acceptance.process import Meter, wait_until
from server.conftest import Troubled, execute, fact, post_events
from server.exposition import Scrape, scrape
from server.promql import selectors
from server.rules import firing

MONITORING = Path(__file__).resolve().parents[2] / "docs" / "monitoring"
RULES = yaml.safe_load((MONITORING / "alerts.yml").read_text())
ALERTS: dict[str, Any] = {rule["alert"]: rule for g in RULES["groups"] for rule in g["rules"]}
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
OF_PROMETHEUS = {"MeterDown", "MeterRestarts"}
"""What is Prometheus' own to see; promtool tests those."""
TARGET = {"job", "instance"}
DURATION = re.compile(r"^\d+[smhd]$")


def expressions(thing: Any) -> list[str]:
    """Return every expression of a dashboard, as Grafana sends it."""
    if isinstance(thing, list):
        return [expr for inner in thing for expr in expressions(inner)]
    if not isinstance(thing, dict):
        return []
    own = [thing["expr"]] if "expr" in thing else []
    return own + [e for value in thing.values() for e in expressions(value)]


def test_the_rules_have_the_shape_of_a_prometheus_rule_file() -> None:
    assert set(RULES) == {"groups"}
    for group in RULES["groups"]:
        assert set(group) == {"name", "rules"}
        for rule in group["rules"]:
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
            assert rule["labels"]["severity"] in {"warning", "critical"}
            assert set(rule["annotations"]) == {"summary", "description"}
            assert DURATION.match(rule.get("for", "1m"))
    assert len(ALERTS) == sum(len(group["rules"]) for group in RULES["groups"])


@pytest.mark.parametrize(
    "expression",
    sorted({rule["expr"] for rule in ALERTS.values()} | set(expressions(DASHBOARD))),
)
def test_what_an_expression_names_is_on_the_page(well: Meter, expression: str) -> None:
    page = scrape(well)
    found, grouped = selectors(expression)
    assert found
    labels = set(TARGET)
    for selector in found:
        if selector.metric == "up":
            continue
        samples = list(page.named(selector.metric))
        assert samples, selector.metric
        labels |= samples[0].labels.keys()
        for label, operator, value in selector.matchers:
            assert label in labels, label
            if label not in TARGET:
                pattern = value if operator == "=~" else re.escape(value)
                values = {sample.labels[label] for sample in samples}
                assert any(re.fullmatch(pattern, one) for one in values), (label, value)
    assert grouped <= labels


@pytest.mark.parametrize("name", ALERTS)
def test_what_an_alert_says_of_its_labels_is_there(well: Meter, name: str) -> None:
    rule = ALERTS[name]
    named = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    if named:
        (first, *_), _ = selectors(rule["expr"])
        (sample, *_) = scrape(well).named(first.metric)
        assert named <= sample.labels.keys()


def test_every_legend_of_the_dashboard_names_labels_that_are_left() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            _, grouped = selectors(target["expr"])
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            if "(" in target["expr"]:
                assert named <= grouped, target


def test_the_panels_of_the_dashboard_are_apart_and_within_its_width() -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


@pytest.mark.parametrize("name", sorted(ALERTS.keys() - OF_PROMETHEUS))
def test_no_alert_fires_where_all_is_well(well: Meter, name: str) -> None:
    page = scrape(well)
    assert firing(ALERTS[name]["expr"], page, page) == []


def quarantine(troubled: Troubled) -> None:
    post_events(troubled.meter, fact("two-ways"), fact("two-ways", customer_id="another"))


def ask_with_wrong_secrets(troubled: Troubled) -> None:
    for _ in range(11):
        assert post_events(troubled.meter, secret="wrong").status_code == 401


def leave_a_receipt(troubled: Troubled) -> None:
    body = {"transcript_id": "never-fetched", "status": "completed"}
    assert troubled.meter.post("customer_id=acme", body).status_code == 200
    execute(troubled.meter, "UPDATE receipts SET received_at = received_at - ?", 7200 * 10**6)


def unbalance(troubled: Troubled) -> None:
    execute(troubled.meter, "UPDATE sinks SET delivered = delivered + 1 WHERE name = 'ledger'")


def nothing(troubled: Troubled) -> None:
    """The run has that trouble from its start."""


MADE: dict[str, tuple[Callable[[Troubled], None], dict[str, str]]] = {
    "MeterSinkParked": (nothing, {"sink": "fatal"}),
    "MeterSinkFails": (nothing, {"sink": "busy"}),
    "MeterQueueOld": (nothing, {"sink": "busy"}),
    "MeterQueueTooOld": (nothing, {"sink": "busy"}),
    "MeterDeadLetters": (nothing, {"sink": "refuses", "state": "dead"}),
    "MeterCollectorTrouble": (nothing, {"collector": "transcripts"}),
    "MeterBackfillStale": (nothing, {"collector": "transcripts"}),
    "MeterQuarantineGrows": (quarantine, {"collector": "apps"}),
    "MeterQuarantineWaits": (quarantine, {"collector": "apps"}),
    "MeterConflicts": (quarantine, {"collector": "apps"}),
    "MeterRequestsRefused": (
        ask_with_wrong_secrets,
        {"collector": "apps", "reason": "unauthorized"},
    ),
    "MeterReceiptsWait": (leave_a_receipt, {"collector": "transcripts"}),
    "MeterBalanceWrong": (unbalance, {"sink": "ledger"}),
}


def test_each_alert_fires_where_its_trouble_is(troubled: Troubled) -> None:
    for make in dict.fromkeys(make for make, _ in MADE.values()):
        make(troubled)
    for name, (_, labels) in MADE.items():
        wait_until(
            partial(troubled.fires, ALERTS[name]["expr"], labels),
            seconds=20,
            showing=partial("{}\n{}".format, name, troubled.after.text),
        )


def test_the_alert_on_the_journal_fires_while_the_disk_is_full(troubled: Troubled) -> None:
    meter, expression = troubled.meter, ALERTS["MeterJournalUnwritable"]["expr"]
    assert firing(expression, troubled.before, troubled.look()) == []
    _, hard = resource.prlimit(meter.pid, resource.RLIMIT_FSIZE)
    size = (meter.folder / "meter.db-wal").stat().st_size
    resource.prlimit(meter.pid, resource.RLIMIT_FSIZE, (size, hard))
    try:
        wait_until(lambda: firing(expression, troubled.before, troubled.look()))
    finally:
        resource.prlimit(meter.pid, resource.RLIMIT_FSIZE, (hard, hard))
    wait_until(lambda: not firing(expression, troubled.before, troubled.look()))


def test_every_alert_is_made_for_real_or_told_why_not() -> None:
    assert MADE.keys() | OF_PROMETHEUS | {"MeterJournalUnwritable"} == ALERTS.keys()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Debian's package prometheus")
@pytest.mark.parametrize(
    "command", [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]]
)
def test_promtool_agrees(command: list[str]) -> None:
    done = subprocess.run(
        ["promtool", *command], cwd=MONITORING, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Debian's package prometheus")
def test_promtool_finds_nothing_wrong_with_the_page(well: Meter) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=scrape(well).text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_promql_is_read_well_enough() -> None:
    found, grouped = selectors(
        'histogram_quantile(0.9, sum by (le, sink) (rate(a_bucket{job=~"$job", x!="}"}[5m])))'
        " > on (b) group_left 3 * c_total unless absent(d offset 5m)"
    )
    assert [s.metric for s in found] == ["a_bucket", "c_total", "d"]
    assert found[0].matchers == [("job", "=~", "$job"), ("x", "!=", "}")]
    assert grouped == {"le", "sink", "b"}


def test_a_page_that_lacks_a_series_is_a_fault_of_the_test() -> None:
    with pytest.raises(AssertionError, match="no such series"):
        firing("meter_sink_parked == 1", Scrape(""), Scrape(""))
