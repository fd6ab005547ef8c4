"""A file in order becomes a Config; one that is not says everything that is wrong, and where."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

from meter.config import (
    Condition,
    Config,
    ConfigFaults,
    ServerOptions,
    load_config,
    required_variables,
)
from meter.config.models import Kind
from meter.errors import ConfigurationError
from meter.events import BILLED_KINDS, KINDS

if TYPE_CHECKING:
    from meter.plugins import Plugins

Load = Callable[..., Config]

SMALL = """\
collectors: {live: {type: streaming}}
sinks: {rows: {type: ledger, path: usage.db}}
pipelines: {usage: {from: live, to: rows}}
"""


def faults_of(load: Load, text: str | bytes, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigFaults) as caught:
        load(text, environ)
    assert str(caught.value).splitlines() == [str(fault) for fault in caught.value.faults]
    return str(caught.value).splitlines()


def test_a_file_in_order_becomes_a_config(
    load: Load, tmp_path: Path, good: str, secrets: dict[str, str]
) -> None:
    config = load(good, secrets)

    assert (config.path, config.folder) == (Path("pipelines.yaml"), tmp_path)
    assert config.journal == str(tmp_path / "data" / "meter.db")
    assert config.server.port == 0
    assert config.server.host == "localhost"
    assert config.server.receipt_deadline == timedelta(seconds=5)
    assert list(config.collectors) == ["transcripts", "live"]
    assert config.collectors["transcripts"].options.backfill.every == timedelta(minutes=15)
    assert config.collectors["live"].type == "streaming"
    rows, billing = config.sinks["rows"], config.sinks["billing"]
    assert rows.options.path == tmp_path / "usage.db"
    assert (rows.options.wal, rows.options.rows) == (False, 7)
    assert rows.start == datetime(2026, 1, 31, tzinfo=UTC)
    assert rows.extension.plugin.name == "bundled"
    assert billing.start == "now"
    assert billing.options.customers.file == tmp_path / "customers.yaml"
    usage, billed = config.pipelines["usage"], config.pipelines["billing"]
    assert (usage.from_, usage.to) == (("transcripts", "live"), ("rows",))
    assert usage.kinds == BILLED_KINDS
    assert usage.where == {}
    assert (billed.from_, billed.kinds) == (("transcripts",), ("async_completed",))
    assert billed.where == {
        "customer_id": Condition(none_of=frozenset({"internal", "007"})),
        "dimensions.team": Condition(one_of=frozenset({"a"})),
        "language": Condition(none_of=frozenset({"NO"}), exists=True),
    }
    assert config.warnings == ()


def test_what_is_left_out_has_its_default(load: Load, tmp_path: Path) -> None:
    config = load("server:\n" + SMALL)

    assert config.journal == str(tmp_path / "meter.db")
    assert config.server == ServerOptions()
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8787)
    assert config.server.max_body == 1_048_576
    assert config.server.receipt_deadline < timedelta(seconds=10)
    assert config.sinks["rows"].start is None


def test_the_kinds_of_a_pipeline_are_all_kinds() -> None:
    assert get_args(Kind) == KINDS


BAD = """\
jurnal: meter.db
server:
  prot: 80
  max_body: lots
  receipt_deadline: 0s
  host: [a]
collectors:
  transcripts:
    type: webhook
    path: /x
    secret: ${WEBHOOK_SECRETE}
    backfill: {evry: 15m}
  2nd: {type: webhok}
  mute: {path: /x}
sinks:
  ledger:
    type: ledger
    pth: usage.db
    wal: yes
    start: begining
    table:
    rows: 5000
  ledger: {type: ledger}
  other: {type: ledger}
  billing:
    type: billing
    api_key: sk_1
    meters: [{event_name: a}, nothing]
    customers: {fiel: x}
    mode: tset
pipelines:
  usage:
    from: transcript
    to: [ledger, ledger, transcripts]
    kinds: async_complete
    where: {customer: a, model: {inn: [b]}, language: {exists: maybe}, kind: [foo]}
  empty: {from: []}
"""
BAD_FAULTS = """\
1:1: jurnal: unknown key; did you mean 'journal'? (known: collectors, journal, pipelines, rates, server, sinks)
3:3: server.prot: unknown key; did you mean 'port'? (known: admin_secret, host, max_body, max_concurrency, metrics_secret, port, previous_admin_secret, receipt_deadline)
4:13: server.max_body: expected a whole number, at least 1
5:21: server.receipt_deadline: expected a duration longer than 0s
6:9: server.host: expected text, not a list
11:13: collectors.transcripts.secret: the environment variable WEBHOOK_SECRETE is not set in the environment of this process; did you mean WEBHOOK_SECRET, which is set?
12:16: collectors.transcripts.backfill.evry: unknown key; did you mean 'every'? (known: every, lookback)
13:3: collectors.2nd: a name is a letter, then up to 63 letters, digits, - or _
13:15: collectors.2nd.type: no collector type 'webhok'; did you mean 'webhook'?
14:3: collectors.mute.type: missing; expected one of streaming, webhook
18:5: sinks.ledger.pth: unknown key; did you mean 'path'? (known: path, rows, share, start, table, type, wal)
19:10: sinks.ledger.wal: expected true or false
20:12: sinks.ledger.start: expected beginning, now, or a date or time (UTC) such as 2026-01-31 or 2026-01-31T08:00:00Z; did you mean 'beginning'?
21:5: sinks.ledger.table: expected text, not an empty value
22:11: sinks.ledger.rows: expected a whole number from 1 to 1000
23:3: sinks.ledger: the key stands here a second time; first at 16:3
24:3: sinks.other.path: missing; expected a path (Where the rows are kept)
28:14: sinks.billing.meters[0].kinds: missing; expected a list
28:31: sinks.billing.meters[1]: expected a mapping
29:17: sinks.billing.customers.fiel: unknown key; did you mean 'file'? (known: file, metadata)
30:11: sinks.billing.mode: expected one of 'live' or 'test'; did you mean 'test'?
33:11: pipelines.usage.from: no collector 'transcript'; did you mean 'transcripts'? (known: 2nd, mute, transcripts)
34:18: pipelines.usage.to[1]: 'ledger' stands here twice
34:26: pipelines.usage.to[2]: 'transcripts' is a collector, expected a sink; known: billing, ledger, other
35:12: pipelines.usage.kinds: expected one of 'async_completed', 'stream_terminated', 'async_failed' or 'stream_abandoned'; did you mean 'async_completed'?
36:13: pipelines.usage.where.customer: no such field of an event; did you mean 'customer_id'? (known: collector, customer_id, dimensions.<name>, kind, language, model, provider, provider_id)
36:34: pipelines.usage.where.model.inn: unknown condition; did you mean 'in'? (known: equals, exists, in, not, not_in)
36:64: pipelines.usage.where.language.exists: expected true or false
36:79: pipelines.usage.where.kind[0]: no kind of event 'foo'; known: async_completed, async_failed, stream_abandoned, stream_terminated
37:3: pipelines.empty.to: missing; expected a list (Sinks that this pipeline feeds)
37:17: pipelines.empty.from: expected at least one item
"""  # noqa: E501  each fault is one line


def test_every_fault_is_told_at_once_each_with_its_place(load: Load) -> None:
    found = faults_of(load, BAD, {"WEBHOOK_SECRET": "hidden"})

    assert found == [f"pipelines.yaml:{line}" for line in BAD_FAULTS.splitlines()]


def test_faults_carry_their_parts(load: Load) -> None:
    with pytest.raises(ConfigFaults) as caught:
        load(SMALL.replace("path", "pth"))

    fault = caught.value.faults[0]
    assert (fault.file, fault.line, fault.column) == ("pipelines.yaml", 2, 30)
    assert fault.path == "sinks.rows.pth"
    assert isinstance(caught.value, ConfigurationError)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1:1: the file is empty; it needs collectors, sinks and pipelines"),
        ("# only words\n", "1:1: the file is empty; it needs collectors, sinks and pipelines"),
        ("---\n...\n", "1:1: the file is empty; it needs collectors, sinks and pipelines"),
        ("- a\n", "1:1: expected keys at the top, such as `collectors:`"),
        (b"a: \xff\n", " not UTF-8 (first on line 1); save it as UTF-8"),
        ("journal: 'a\x07'\n", "1:12: the character U+0007 cannot stand in YAML;"),
        ("x" * 1_048_577, " larger than 1,048,576 bytes; is it a pipelines file?"),
    ],
)
def test_a_file_that_is_no_pipelines_file_says_so(
    load: Load, text: str | bytes, expected: str
) -> None:
    (found,) = faults_of(load, text)

    assert found.startswith(f"pipelines.yaml:{expected}")


def test_a_file_that_cannot_be_opened_says_what_to_do(tmp_path: Path, plugins: Plugins) -> None:
    with pytest.raises(ConfigFaults, match=r"not found; run in the folder of your pipelines\.yaml"):
        load_config(tmp_path / "nowhere.yaml", plugins, environ={})
    with pytest.raises(ConfigFaults, match="a folder, not a file"):
        load_config(tmp_path, plugins, environ={})
    with pytest.raises(ConfigFaults, match="cannot be read: not a file name"):
        load_config(Path("a\0b"), plugins, environ={})


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(load: Load) -> None:
    text = SMALL.replace("path: ", "pth: ").replace("\n", "\r\n")

    (found,) = faults_of(load, b"\xef\xbb\xbf" + text.encode())
    assert found.startswith("pipelines.yaml:2:30: sinks.rows.pth: unknown key")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("sinks:", "snks:", ["2:1: snks: unknown key; did you mean 'sinks'?"]),
        (
            "sinks: {rows: {type: ledger, path: usage.db}}",
            "",
            ["1:1: sinks: missing; expected at least one sink, under a name of its own"],
        ),
        (
            "{usage: {from: live, to: rows}}",
            "{}",
            ["3:1: pipelines: expected at least one pipeline, under a name of its own"],
        ),
        ("{type: streaming}", "x", ["1:20: collectors.live: expected a mapping with the key"]),
        ("type: ledger", "tpye: ledger", ["2:16: sinks.rows.tpye: unknown key; did you mean"]),
        ("{from: live, to: rows}", "rows", ["3:20: pipelines.usage: expected a mapping"]),
        ("from: live", "from: rows", ["3:27: pipelines.usage.from: 'rows' is a sink, expected a"]),
        ("usage.db}", "usage.db, start: }", ["2:46: sinks.rows.start: expected beginning, now"]),
        ("rows: {", '"a b": {', ['2:9: sinks."a b": a name is a letter', "3:37: pipelines.usage."]),
        (
            "path: usage.db",
            "path: u, share: 0",
            ["2:46: sinks.rows.share: expected a number, more"],
        ),
    ],
)
def test_each_section_is_checked(load: Load, old: str, new: str, expected: list[str]) -> None:
    found = faults_of(load, SMALL.replace(old, new, 1))

    assert len(found) == len(expected)
    for fault, beginning in zip(found, expected, strict=True):
        assert fault.startswith(f"pipelines.yaml:{beginning}")


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("beginning", "beginning"),
        ("now", "now"),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T08:30:00Z", datetime(2026, 1, 31, 8, 30, tzinfo=UTC)),
        ("2026-01-31 08:30", datetime(2026, 1, 31, 8, 30, tzinfo=UTC)),
        ("2026-01-31T08:30:00+02:00", datetime(2026, 1, 31, 6, 30, tzinfo=UTC)),
    ],
)
def test_a_sink_starts_where_it_is_told(load: Load, written: str, moment: object) -> None:
    config = load(SMALL.replace("usage.db}", f'usage.db, start: "{written}"}}'))

    assert config.sinks["rows"].start == moment


@pytest.mark.parametrize("written", ["", "yesterday", "0001-01-01T00:00:00+14:00", "[now]", "5"])
def test_a_start_that_is_no_time_is_a_fault(load: Load, written: str) -> None:
    (found,) = faults_of(load, SMALL.replace("usage.db}", f"usage.db, start: {written} }}"))

    assert "sinks.rows.start: expected beginning, now, or a date" in found


@pytest.mark.parametrize("written", ["yes", "on", "1", "y", "t", "off", "No"])
def test_only_true_and_false_are_true_and_false(
    load: Load, written: str, good: str, secrets: dict[str, str]
) -> None:
    (found,) = faults_of(load, SMALL.replace("usage.db}", f"usage.db, wal: {written}}}"))
    assert found == "pipelines.yaml:2:51: sinks.rows.wal: expected true or false"

    text = good.replace("api_key", f"labels: {{a: {written}}}\n    api_key")
    (found,) = faults_of(load, text, secrets)
    assert found.endswith("sinks.billing.labels.a: expected true or false")


@pytest.mark.parametrize(
    ("written", "journal"),
    [("j.db", "j.db"), ("/var/j.db", "/var/j.db")],
)
def test_the_journal_is_a_file(load: Load, tmp_path: Path, written: str, journal: str) -> None:
    assert load(f"journal: {written}\n{SMALL}").journal == str(tmp_path / journal)


@pytest.mark.parametrize("written", ["[a]", "mysql://u:secret@h/d", "postgresql://h/d", "''"])
def test_another_journal_is_a_fault(load: Load, written: str) -> None:
    (found,) = faults_of(load, f"journal: {written}\n{SMALL}")

    assert found.startswith("pipelines.yaml:1:10: journal: expected a file, such as meter.db")
    assert "secret" not in found


def test_a_collector_and_a_sink_in_no_pipeline_are_warned_of(load: Load) -> None:
    text = SMALL.replace("{live:", "{idle: {type: streaming}, live:")
    text = text.replace("{rows:", "{dry: {type: ledger, path: x}, rows:")

    idle, dry = load(text).warnings
    assert idle == (
        "pipelines.yaml:1:14: collectors.idle: no pipeline takes from this collector; its events "
        "are journalled and go nowhere"
    )
    assert dry == (
        "pipelines.yaml:2:9: sinks.dry: no pipeline leads to this sink; it is given nothing"
    )


def test_a_union_says_what_every_branch_takes(
    load: Load, good: str, secrets: dict[str, str]
) -> None:
    (found,) = faults_of(load, good.replace("{file: customers.yaml}", "nobody"), secrets)

    assert "sinks.billing.customers: expected a mapping, or one of 'passthrough'" in found


def test_the_variables_that_a_file_needs_are_known_before_they_are_set(
    tmp_path: Path, good: str
) -> None:
    file = tmp_path / "pipelines.yaml"
    file.write_text(good + "# ${COMMENT}\nx: ['$${NOT}', '${WITH:-default}', \"${A}${B}\"]\n")

    assert required_variables(file) == {"WEBHOOK", "STRIPE", "A", "B"}
    with pytest.raises(ConfigFaults, match="not found"):
        required_variables(tmp_path / "nowhere.yaml")
