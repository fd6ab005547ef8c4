"""No value of a pipelines file is ever printed, wherever it stands by mistake."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest

from meter.config import Config, ConfigFaults

Load = Callable[..., Config]

SECRET = "hunter2-hunter2"


def everything_printed(error: BaseException) -> str:
    lines = traceback.TracebackException.from_exception(error, capture_locals=False)
    return "".join(lines.format()) + repr(error) + str(error) + repr(error.args)


@pytest.mark.parametrize("written", [f'"{SECRET}"', '"${SECRET}"', '"Bearer ${SECRET}"'])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("port: 0", "port: VALUE"),
        ("port: 0", "prot: VALUE"),
        ("port: 0", "port: [VALUE]"),
        ("port: 0", "port: {a: VALUE}"),
        ("receipt_deadline: 5s", "receipt_deadline: VALUE"),
        ("host: localhost", "host: [VALUE]"),
        ("host: localhost", "hots: VALUE"),
        ("wal: false", "wal: VALUE"),
        ("rows: 007", "rows: VALUE"),
        ("start: now", "start: VALUE"),
        ("api_key: ${STRIPE}", "api_kye: VALUE"),
        ("api_key: ${STRIPE}", "api_key: [VALUE]"),
        ("api_key: ${STRIPE}", "api_key: VALUE"),  # the plugin quotes it in its own error
        ("api_key: ${STRIPE}", "labels: {nolabel: true}\n    api_key: VALUE"),
        ("{file: customers.yaml}", "VALUE"),
        ("{file: customers.yaml}", "{flie: VALUE}"),
        ("start: now", "mode: VALUE"),
        ("start: now", "labels: {a: VALUE}"),
        ("kinds: async_completed\n", "kinds: VALUE\n"),
        ("{exists: true, not: NO}", "{exists: VALUE}"),
        ("{exists: true, not: NO}", "{nto: VALUE}"),
        ("{exists: true, not: NO}", "[[VALUE]]"),
        ("journal: data/meter.db", "journal: [VALUE]"),
        ("journal: data/meter.db", "journal: {a: VALUE}"),
        ("journal: data/meter.db", "jounral: VALUE"),
        ("{type: streaming}", "VALUE"),
        ("{every: 15m, lookback: 24h}", "VALUE"),
        ("every: 15m", "every: VALUE"),
        ("pipelines:", "x: VALUE\npipelines:"),
    ],
)
def test_a_secret_in_a_wrong_place_is_not_printed(
    load: Load, good: str, secrets: dict[str, str], old: str, new: str, written: str
) -> None:
    assert old in good
    text = good.replace(old, new.replace("VALUE", written))

    with pytest.raises(ConfigFaults) as caught:
        load(text, {**secrets, "SECRET": SECRET})

    assert "hunter2" not in everything_printed(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "text",
    [
        f"a: *{SECRET}\n",
        f"a: !{SECRET}\n",
        f"a: !{SECRET}! x\n",
        f"a: @{SECRET}\n",
        f"a: {{b: c {SECRET}: d\n",
        f"a: 'x' {SECRET}\n",
        f'a: "\\q{SECRET}"\n',
        f"a: ${{{SECRET}\n",
        f"a: ${{{SECRET}}}\n",
        f"a: %{SECRET}\n",
    ],
)
def test_a_secret_that_breaks_the_yaml_is_not_printed(load: Load, text: str) -> None:
    with pytest.raises(ConfigFaults) as caught:
        load(text)

    assert "hunter2" not in everything_printed(caught.value)


def test_a_config_does_not_print_what_could_be_a_secret(
    load: Load, good: str, secrets: dict[str, str]
) -> None:
    text = good.replace("not_in: [internal, 007]", f"not_in: [{SECRET}]")
    text = text.replace("path: usage.db", f"table: {SECRET}, path: usage.db")

    config = load(text, dict.fromkeys(secrets, f"sk_{SECRET}"))
    printed = repr(config) + repr(config.sinks) + repr(config.server) + str(config.warnings)
    assert "hunter2" not in printed
