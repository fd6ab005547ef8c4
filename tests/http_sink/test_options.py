"""The options, as the pipelines file's own loader reads them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from meter.config import json_schema, load_config
from meter.config.faults import ConfigFaults
from meter.plugins import load_plugins
from meter_http.options import HttpOptions

SECRET = "s3cret-of-the-destination"


def load(folder: Path, **options: Any) -> HttpOptions:
    path = folder / "pipelines.yaml"
    entry = {"type": "http", "url": "https://api.example.com/events", **options}
    path.write_text(
        yaml.safe_dump(
            {
                "collectors": {"apps": {"type": "ingest", "secret": "x"}},
                "sinks": {"out": entry},
                "pipelines": {"usage": {"from": "apps", "to": "out"}},
            }
        )
    )
    loaded = load_config(path, load_plugins(), environ={"KEY": SECRET, "BROKEN": f"{SECRET}\n"})
    found: HttpOptions = loaded.sinks["out"].options
    return found


def fault(folder: Path, **options: Any) -> str:
    with pytest.raises(ConfigFaults) as raised:
        load(folder, **options)
    return str(raised.value)


def test_a_url_is_all_that_it_needs(tmp_path: Path) -> None:
    options = load(tmp_path)
    assert options.type_of("async_completed") == "meter.async_completed"
    assert options.max_events == 100


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "http://api.example.com"}, "url: https:// is expected; `allow_http: true` allows"),
        ({"url": "https://me:pw@api.example.com"}, "a URL without a user or password; put them in"),
        ({"url": "https://me@api.example.com"}, "a URL without a user or password; put them into"),
        ({"url": "ftp://api.example.com"}, "a URL such as https://api.example.com/events"),
        ({"url": "billing.example.org/x"}, "a URL such as https://api.example.com/events"),
        ({"url": "https://[bad/x"}, "a URL such as https://api.example.com/events"),
        ({"url": "https://a.example.com:port/"}, "a URL such as https://api.example.com/events"),
        ({"url": "https://a.example.com/#x"}, "a URL in ASCII, without blanks or a #fragment"),
        ({"headers": {"X Y": "a"}}, "the names of HTTP headers, such as Authorization, as keys"),
        ({"headers": {"Host": "a"}}, "the header Host is made by this sink; leave it out"),
        ({"headers": {"Ce-Id": "a"}}, "the header Ce-Id is made by this sink; leave it out"),
        ({"headers": {"Webhook-Id": "a"}}, "the header Webhook-Id is made by this sink; leave it"),
        ({"headers": {"A": "${BROKEN}"}}, "the header A has a value that cannot be sent: it is em"),
        ({"headers": {"A": "ü"}}, "the header A has a value that cannot be sent: it is empty, be"),
        ({"headers": {"A": "x", "a": "y"}}, "a header stands here twice; upper and lower case are"),
        ({"headers": {"Content-Type": "text/plain"}}, "headers: Content-Type is CloudEvents' own"),
        ({"mode": "binry"}, "did you mean 'binary'?"),
        ({"event_type": "{customer_id}"}, "text in which no other placeholder stands than {kind}"),
        ({"event_type": {"async_complete": "x"}}, "async_complete"),
        ({"data": {"a": "{secnds}"}}, "at a: secnds is no placeholder; did you mean seconds?"),
        ({"data": {}}, "a mapping of the destination's fields to texts with placeholders"),
        ({"body": {"event": "{event_id}"}}, "a mapping of the destination's fields to texts with"),
        ({"body": {"event": {"a": "b"}, "batch": {}}}, "one place for the events"),
        ({"body": {"event": {"a": "b"}}, "mode": "batch"}, "`mode` and `data` are for CloudEvents"),
        ({"body": {"event": {"a": "{customer}"}}}, "customers: missing, and a template asks for"),
        ({"signing_secret": "whsec_c2hvcnQ="}, "text such as whsec_… with 24 to 64 bytes in base"),
        ({"signing_secret": SECRET}, "text such as whsec_… with 24 to 64 bytes in base64"),
        ({"gzip": "true", "signing_secret": f"whsec_{'a' * 32}"}, "gzip: not with signing_secret"),
        ({"check_url": "https://other.example.com/"}, "check_url: the scheme, host and port of"),
        ({"check_url": "https://api.example.com:8443/"}, "check_url: the scheme, host and port"),
        ({"max_events": "101"}, "a whole number from 1 to 100"),
        ({"timeout": "1h"}, "timeout: expected 100ms to 5m"),
        ({"duplicate_statuses": ["500"]}, "duplicate_statuses[0]: expected a whole number"),
        ({"tiemout": "1s"}, "did you mean 'timeout'?"),
        ({"results": {"path": "x", "key": "name"}}, "one of 'index'"),
    ],
)
def test_what_cannot_work_is_said_when_the_file_is_read(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    said = fault(tmp_path, **options)
    assert words in said
    assert SECRET not in said


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8888", "127.8.9.1", "[::1]:80"])
def test_http_is_allowed_on_this_machine(tmp_path: Path, host: str) -> None:
    assert load(tmp_path, url=f"http://{host}/x").url == f"http://{host}/x"


def test_http_to_others_must_be_allowed_in_words(tmp_path: Path) -> None:
    assert load(tmp_path, url="http://10.0.0.1/x", allow_http="true").allow_http


def test_secrets_are_in_no_repr(tmp_path: Path) -> None:
    options = load(
        tmp_path,
        url="https://api.example.com/events?token=${KEY}",
        headers={"Authorization": "Bearer ${KEY}"},
        body={"event": {"key": "${KEY}"}},
        signing_secret=f"whsec_{'a' * 32}",
        check_url="https://api.example.com/?k=${KEY}",
    )
    shown = repr(options) + str(options)
    assert SECRET not in shown
    assert "aaaa" not in shown


def test_the_schema_for_editors_has_its_options() -> None:
    assert '"check_url"' in json.dumps(json_schema(load_plugins()))


def test_the_plugin_costs_a_command_nothing() -> None:
    script = (
        "import sys, meter_http; from meter.plugins import load_plugins; load_plugins();"
        "print([n for n in ('httpx', 'httpcore', 'ssl') if n in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.strip() == "[]"
