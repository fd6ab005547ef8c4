"""`meter check --connect`: every key, address, path and port is tried, and nothing is changed."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from click.testing import CliRunner

from acceptance.process import Meter, free_port
from meter.cli import cli
from meter.collectors import Collector
from meter.collectors.checking import clock_words, leads_here, place_words
from meter.errors import CollectorError
from meter.plugins import Plugins, load_plugins
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.streaming import StreamingSandbox
from meter.sinks import Options
from support.plugging import Registers, plugins_with

KEY = "the-right-key"
LONG = "a-secret-of-more-than-32-characters-here"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, f"127.0.0.1,{os.environ.get(name, '')}")


@pytest.fixture(scope="module")
def rest() -> Iterator[AssemblyAISandbox]:
    with AssemblyAISandbox(latency=0, keys=[KEY]) as double:
        yield double


@pytest.fixture(scope="module")
def streaming() -> Iterator[StreamingSandbox]:
    with StreamingSandbox(keys=[KEY]) as double:
        yield double


class Place:
    """A folder with a pipelines file in which every address is a double's."""

    def __init__(self, folder: Path, rest: str, streaming: str) -> None:
        self.folder = folder
        key = {"api_key": "${AAI_KEY}"}
        self.config: dict[str, Any] = {
            "server": {"port": 0, "admin_secret": LONG},
            "collectors": {
                "jobs": {"type": "webhook", **key, "secret": LONG, "base_url": rest},
                "live": {
                    "type": "streaming",
                    **key,
                    "token_secret": LONG,
                    "upstream": streaming,
                },
                "apps": {"type": "ingest", "secret": LONG},
                "import": {"type": "jsonl", "path": "events.jsonl"},
            },
            "sinks": {
                "ledger": {"type": "sqlite", "path": "usage.db"},
                "export": {"type": "csv", "path": "exports/{month}.csv"},
            },
        }
        (folder / "events.jsonl").touch()

    def check(
        self, *options: str, exits: int, key: str = KEY, plugins: Plugins | None = None
    ) -> str:
        """Run the command; answer what it printed, each run of blanks as one."""
        names = (list(self.config["collectors"]), list(self.config["sinks"]))
        config = {**self.config, "pipelines": {"usage": {"from": names[0], "to": names[1]}}}
        path = self.folder / "pipelines.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        ran = CliRunner(env={"AAI_KEY": key}).invoke(
            cli, ["check", "--connect", str(path), *options], obj=plugins or load_plugins()
        )
        assert ran.exit_code == exits, ran.output
        assert LONG not in ran.output
        assert key not in ran.output
        return "\n".join(" ".join(line.split()) for line in ran.stdout.splitlines())

    def wrong(self, **options: Any) -> str:
        """Return the one finding that is wrong."""
        found = json.loads(self.check("--json", exits=1, **options))
        assert not found["well"]
        (finding,) = [each for each in found["findings"] if each["state"] == "wrong"]
        return f"{finding['what']}: {finding['found']}"


@pytest.fixture
def place(tmp_path: Path, rest: AssemblyAISandbox, streaming: StreamingSandbox) -> Place:
    return Place(tmp_path, rest.base_url, streaming.url)


def test_where_all_is_well_each_thing_has_its_line_and_nothing_is_made(place: Place) -> None:
    told = place.check(exits=0)
    before = sorted(path.name for path in place.folder.iterdir())
    for line in (
        f"journal ok {place.folder / 'meter.db'} can be made",
        "server ok any free port",
        "collectors.jobs ok the key may list transcripts at 127.0.0.1 (on this machine)",
        "collectors.live ok the key may open sessions at 127.0.0.1 (on this machine)",
        "collectors.apps ok nothing to try",
        f"collectors.import ok {place.folder / 'events.jsonl'} can be read: 0 bytes",
        f"sinks.ledger ok {place.folder / 'usage.db'} can be made",
        f"sinks.export ok files can be written in {place.folder / 'exports'}",
    ):
        assert line in told.splitlines()
    assert "GiB free on its disk" in told
    assert before == ["events.jsonl", "pipelines.yaml"]


def test_a_refused_key_is_told_by_its_line_and_variable_and_never_shown(place: Place) -> None:
    told = place.check(exits=1, key="a-wrong-key")
    rows = told.splitlines()
    for name, number in (("jobs", 7), ("live", 12)):
        (at,) = [n for n, row in enumerate(rows) if row.startswith(f"collectors.{name} WRONG")]
        assert "401" in rows[at]
        where = f"{place.folder / 'pipelines.yaml'}:{number}:14, from ${{AAI_KEY}}"
        assert rows[at + 1] == f"look at api_key: {where}"
    assert f"sinks.ledger ok {place.folder / 'usage.db'} can be made" in rows, "others are tried"
    assert rows[-1].startswith("2 wrong, ")


def test_an_address_that_does_not_answer_is_wrong(place: Place) -> None:
    nobody = free_port()
    place.config["collectors"]["jobs"]["base_url"] = f"http://127.0.0.1:{nobody}"
    wanted = "collectors.jobs: base_url 127.0.0.1 (on this machine): no answer: ConnectError"
    assert wanted in place.wrong()
    assert "look at base_url: " in place.check(exits=1)
    del place.config["collectors"]["jobs"]
    place.config["collectors"]["live"]["upstream"] = f"ws://127.0.0.1:{nobody}"
    assert f"collectors.live: upstream ws://127.0.0.1:{nobody}: no answer" in place.wrong()


def test_a_port_that_another_program_has_is_wrong(place: Place) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        place.config["server"]["port"] = other.getsockname()[1]
        assert "server: cannot listen on 127.0.0.1:" in place.wrong()


def test_paths_that_cannot_be_written_or_read_are_wrong(place: Place) -> None:
    (place.folder / "taken").touch()
    (place.folder / "folder").mkdir()
    sinks, collectors = place.config["sinks"], place.config["collectors"]
    sinks["export"]["path"] = "taken/{month}.csv"
    assert "taken is a file, and" in place.wrong()
    sinks["export"]["path"] = "folder"
    assert "sinks.export: " in place.wrong()
    sinks["export"]["path"] = "fine.csv"
    sinks["ledger"]["path"] = "pipelines.yaml"
    assert "is not a SQLite database" in place.wrong()
    sinks["ledger"]["path"] = "usage.db"
    collectors["import"]["path"] = "nowhere.jsonl"
    assert "collectors.import: path " in place.wrong()
    collectors["import"]["path"] = "-"
    place.config["journal"] = "taken/meter.db"
    assert "journal: " in place.wrong()


def test_a_ledger_that_another_journal_filled_is_wrong(place: Place) -> None:
    with closing(sqlite3.connect(place.folder / "usage.db", isolation_level=None)) as usage:
        usage.execute(
            "CREATE TABLE meter_checkpoints (sink TEXT, journal_id TEXT, checkpoint INT,"
            " delivered INT)"
        )
        usage.execute("INSERT INTO meter_checkpoints VALUES ('ledger', 'another', 3, 3)")
    assert "sinks.ledger: " in place.wrong()
    assert "was filled from another journal: move it away" in place.wrong()
    assert [path.name for path in place.folder.glob("usage.db*")] == ["usage.db"]


def test_short_secrets_are_warned_of_and_no_fault(place: Place) -> None:
    for name in ("jobs", "apps"):
        place.config["collectors"][name]["secret"] = "changeme"
    place.config["server"]["metrics_secret"] = "prometheus"
    told = place.check(exits=0)
    assert told.count("could be guessed") == 3
    assert "warning metrics_secret has 10 characters, and could be guessed" in told
    assert "0 wrong, 3 to think about, " in told


def test_a_running_meter_is_known_on_its_port_and_behind_its_public_address(
    place: Place, tmp_path: Path
) -> None:
    place.config["server"]["port"] = port = free_port()
    place.config["collectors"]["jobs"]["public_url"] = url = f"http://127.0.0.1:{port}"
    before = place.check(exits=0)
    assert f"server ok 127.0.0.1:{port} is free" in before
    assert f"warning {url}/webhooks/assemblyai cannot be reached from here" in before
    assert f"warning public_url {url} is this machine alone" in before
    run = Meter(tmp_path)
    run._environ["AAI_KEY"] = KEY
    run.start()
    try:
        told = place.check(exits=0)
        with pytest.raises(CollectorError, match="answers 404: does the proxy lead this path"):
            list(leads_here(url, "/nowhere"))
    finally:
        run.kill()
    assert "can be written; a `meter run` works on it now" in told
    assert f"server ok 127.0.0.1:{port} is the running meter's" in told
    assert f"ok {url}/webhooks/assemblyai leads to a meter; whether AssemblyAI reaches it" in told


def test_a_public_address_whose_name_nobody_knows_is_wrong() -> None:
    with pytest.raises(CollectorError, match=r"public_url https://no-such-name\.invalid"):
        list(leads_here("https://no-such-name.invalid", "/hook"))


def test_a_clock_that_differs_is_warned_of() -> None:
    now = datetime.now(UTC)
    assert clock_words(now, None) is None
    assert clock_words(now, now - timedelta(seconds=29)) is None
    ahead = clock_words(now, now - timedelta(seconds=95))
    assert ahead is not None
    assert ahead.startswith("warning: this machine's clock is 95 s ahead of AssemblyAI's")
    assert "90 s behind" in str(clock_words(now, now + timedelta(seconds=90)))


def test_regions_are_named_and_strangers_too() -> None:
    assert place_words("https://api.eu.assemblyai.com") == "api.eu.assemblyai.com (EU)"
    assert place_words("wss://streaming.assemblyai.com") == "streaming.assemblyai.com (US)"
    assert "which is not AssemblyAI's" in place_words("https://api.assemblyai.com.evil.example")


class _Told(Collector):
    """A stranger's collector that has more to say than one thing."""

    type = "told"
    Options = Options
    hangs: ClassVar[threading.Event] = threading.Event()

    def check(self) -> Iterator[str]:
        print("this is no finding")  # noqa: T201  because a plugin may print
        yield "one is fine\x1b[2J"
        raise CollectorError("two is not\nnor is three")

    async def run(self, *, once: bool) -> None:
        del once


class _Older:
    """Made before collectors had `check`, and from no class of ours."""

    type = "older"
    Options = Options

    def __init__(self, options: Any, context: Any) -> None:
        del options, context


class _Hanging(_Told):
    type = "hanging"

    def check(self) -> Iterator[str]:
        yield "one is fine"
        self.hangs.wait(60)


@pytest.fixture
def strangers(place: Place) -> Callable[..., Plugins]:
    def registered(*classes: type[Any]) -> Plugins:
        place.config["collectors"] = {cls.type: {"type": cls.type} for cls in classes}
        return plugins_with(Registers(collectors=classes))

    return registered


def test_a_plugins_collector_says_several_things_and_is_not_trusted_with_the_terminal(
    place: Place, strangers: Callable[..., Plugins]
) -> None:
    told = place.check(exits=1, plugins=strangers(_Told, _Older))
    rows = told[told.index("collectors.told") :].splitlines()
    assert rows[:4] == [
        "collectors.told ok one is fine\\x1b[2J",
        "WRONG two is not",
        "WRONG nor is three",
        "collectors.older ok nothing to try",
    ]
    assert "no finding" not in told


def test_one_that_hangs_is_named_and_the_others_are_tried(
    place: Place, strangers: Callable[..., Plugins]
) -> None:
    plugins = strangers(_Hanging)
    plugins.patience = 0.05
    told = place.check(exits=1, plugins=plugins)
    _Hanging.hangs.set()
    rows: Sequence[str] = told[told.index("collectors.hanging") :].splitlines()
    assert rows[0] == "collectors.hanging ok one is fine"
    assert rows[1].startswith("WRONG plugin test0 (meter-test0 1.0) did not come back within")
    assert rows[2].startswith("sinks.ledger ok ")


def test_faults_of_the_file_are_data_too(tmp_path: Path) -> None:
    path = tmp_path / "pipelines.yaml"
    path.write_text("jurnal: m.db\n")
    ran = CliRunner().invoke(cli, ["check", "--json", str(path)], obj=load_plugins())
    assert ran.exit_code == 2
    faults = {fault["path"]: fault for fault in json.loads(ran.stdout)["faults"]}
    assert (faults["jurnal"]["line"], faults["jurnal"]["column"]) == (1, 1)
    assert "did you mean 'journal'" in faults["jurnal"]["message"]


def test_what_a_file_will_do_is_data_too(place: Place) -> None:
    place.check(exits=0)
    path = str(place.folder / "pipelines.yaml")
    ran = CliRunner(env={"AAI_KEY": KEY}).invoke(cli, ["check", "--json", path], obj=load_plugins())
    told = json.loads(ran.stdout)
    assert told["sinks"]["ledger"] == {
        "type": "sqlite",
        "start": "beginning",
        "guarantee": "atomic with checkpoint",
    }
    assert told["pipelines"]["usage"]["to"] == ["ledger", "export"]
