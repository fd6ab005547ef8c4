"""The JSON Schema for editors accepts what `load_config` accepts, and says what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships none

from meter.config import json_schema
from meter.plugins import Plugins


class _AsEditorsRead(yaml.SafeLoader):
    """YAML's core schema, as editors use it: a date is text."""

    yaml_implicit_resolvers = {  # noqa: RUF012  PyYAML's own name and shape
        first: [pair for pair in pairs if not pair[0].endswith(":timestamp")]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@pytest.fixture
def validator(plugins: Plugins) -> Draft202012Validator:
    schema = json_schema(plugins)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(json.loads(json.dumps(schema)))


def as_editors_read(text: str) -> Any:
    return yaml.load(text, Loader=_AsEditorsRead)


def test_a_file_in_order_fits_the_schema(validator: Draft202012Validator, good: str) -> None:
    assert [error.message for error in validator.iter_errors(as_editors_read(good))] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("port: 0", 'port: "${PORT}"'),
        ("rows: 007", 'rows: "${ROWS:-7}"'),
        ("wal: false", 'wal: "${WAL}"'),
        ("start: 2026-01-31", 'start: "${START}"'),
        ("kinds: async_completed\n", 'kinds: ["${KIND}"]\n'),
        ("{exists: true, not: NO}", '{exists: "${EXISTS}"}'),
        ("{exists: true, not: NO}", "[1, false, a]"),
        ("{file: customers.yaml}", "passthrough"),
        ("{file: customers.yaml}", "{metadata: key}"),
        ("start: now", "mode: test"),
        ("{port: 0", "# {port: 0"),
    ],
)
def test_a_reference_fits_wherever_a_value_does(
    validator: Draft202012Validator, good: str, old: str, new: str
) -> None:
    assert old in good
    assert list(validator.iter_errors(as_editors_read(good.replace(old, new)))) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("port: 0", "prot: 0"),
        ("port: 0", "port: 70000"),
        ("port: 0", "port: eighty"),
        ("journal:", "jurnal:"),
        ("type: ledger", "type: leger"),
        ("path: usage.db", "pth: usage.db"),
        ("type: streaming", "type: streaming, start: now"),
        ("wal: false", "wal: maybe"),
        ("rows: 007", "rows: 5000"),
        ("start: now", "start: later"),
        ("start: now", "mode: tset"),
        ("{file: customers.yaml}", "{flie: customers.yaml}"),
        ("from: transcripts", "form: transcripts"),
        ("to: [billing, rows]", "to: []"),
        ("to: [billing, rows]", "to: [rows, rows]"),
        ("kinds: async_completed\n", "kinds: [async_complete]\n"),
        ("not_in: [internal, 007]", "nin: [internal]"),
        ("customer_id:", "customer:"),
        ("  live: {", "  2nd: {"),
        ("event_name: seconds", "event: seconds"),
    ],
)
def test_a_fault_does_not_fit(
    validator: Draft202012Validator, good: str, old: str, new: str
) -> None:
    assert old in good
    assert list(validator.iter_errors(as_editors_read(good.replace(old, new))))


def test_descriptions_are_kept_and_definitions_do_not_collide(plugins: Plugins) -> None:
    schema = json_schema(plugins)

    sinks = {
        entry["properties"]["type"]["const"]: entry
        for entry in schema["properties"]["sinks"]["additionalProperties"]["oneOf"]
    }
    assert sinks["ledger"]["properties"]["path"]["description"] == "Where the rows are kept."
    assert sinks["ledger"]["properties"]["type"]["description"] == "Keeps rows in a file."
    assert "start" in sinks["billing"]["properties"]
    assert {"sink.billing.Meter", "collector.webhook.Backfill"} <= schema["$defs"].keys()
    assert "file" not in json.dumps(schema["properties"]["server"])


def test_without_plugins_there_is_still_a_schema() -> None:
    Draft202012Validator.check_schema(json_schema(Plugins()))
