"""A plugin that misbehaves is named, with its distribution, and everything else goes on."""

import json
import signal
from pathlib import Path

import pytest

from acceptance import books
from acceptance.broken_plugins import (
    COUNT,
    HANG,
    HOOKED,
    LOADING,
    MOODY,
    OFFERING,
    VERSION,
    fine,
    install,
    is_complete,
    known_as,
    logged,
    moody,
    offering,
    supplied,
    taken,
)
from acceptance.process import Meter, wait_until

pytestmark = pytest.mark.acceptance


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH, for the plugins that a test makes."""
    return tmp_path / "packages"


def test_what_cannot_be_loaded_or_offers_rubbish_is_named_and_costs_nobody_else(
    meter: Meter, packages: Path
) -> None:
    for name, (source, _) in LOADING.items():
        install(packages, name, source)
    for name, (offered, _) in OFFERING.items():
        install(packages, name, offering(offered))
    install(packages, "nothing", "", module="meter_plugin_good:nothing")
    install(packages, "good", "print('noise on standard output')\nnothing = None\n" + fine("good"))

    listed = meter.command("plugins", "--json")
    assert listed.returncode == 3, listed.stderr
    found = json.loads(listed.stdout)
    assert "noise on standard output" in listed.stderr
    errors = {fault["plugin"]: fault["error"] for fault in found["faults"]}
    said = {name: words for name, (_, words) in (LOADING | OFFERING).items()} | {"nothing": "None"}
    assert errors.keys() == said.keys()
    assert [(n, errors[n]) for n, words in said.items() if words not in errors[n]] == []
    assert {f["distribution"] for f in found["faults"]} == {f"meter-{name}" for name in said}
    assert {f["version"] for f in found["faults"]} == {VERSION}
    assert "good" in {row["type"] for row in found["types"]}

    expected = supplied(meter, theirs={"type": "good"})
    done = meter.once()
    assert done.returncode == 0, done.stderr
    assert is_complete(meter, expected)
    assert {line["plugin"] for line in logged(done, "plugin.broken")} == set(map(known_as, said))
    assert meter.status()[0] == 0


def test_what_was_written_for_another_api_or_has_no_hook_is_warned_of_and_works(
    meter: Meter, packages: Path
) -> None:
    install(packages, "tomorrow", "meter_api_version = 99\n" + fine("tomorrow"))
    install(packages, "today", "meter_api_version = 1\n" + fine("today"))
    install(packages, "silent", fine("silent"))
    install(packages, "bare", "def meter_register_sinks(): return []")
    listed = meter.command("plugins", "--json")
    assert listed.returncode == 0, listed.stderr
    found = json.loads(listed.stdout)
    warned = {w["plugin"]: w for w in found["warnings"]}
    assert warned.keys() == {"tomorrow", "bare"}
    assert "update usage-meter" in warned["tomorrow"]["warning"]
    assert warned["tomorrow"]["distribution"] == "meter-tomorrow"
    assert "meter.hookimpl" in warned["bare"]["warning"]
    api = {p["plugin"]: p["api"] for p in found["plugins"]}
    assert (api["tomorrow"], api["today"], api["silent"]) == (99, 1, 1)

    expected = supplied(meter, theirs={"type": "tomorrow"})
    done = meter.once()
    assert done.returncode == 0, done.stderr
    assert is_complete(meter, expected)
    assert {line["plugin"] for line in logged(done, "plugin.warning")} == {
        known_as("tomorrow"),
        known_as("bare"),
    }


def test_a_type_or_a_command_that_is_taken_is_told_with_whose_it_is(
    meter: Meter, packages: Path
) -> None:
    adds = "{hooked}\nimport click\n@hookimpl\ndef meter_register_commands(cli):\n{body}"
    own = "    cli.add_command(click.Command({!r}, callback=lambda: print({!r})))\n"
    install(packages, "first", fine("wanted"))
    install(packages, "second", fine("wanted"))
    install(packages, "usurper", adds.format(hooked=HOOKED, body=own.format("status", "stolen")))
    install(packages, "adder", adds.format(hooked=HOOKED, body=own.format("greet", "hello")))
    install(packages, "copier", adds.format(hooked=HOOKED, body=own.format("greet", "mine")))
    install(
        packages,
        "halfway",
        adds.format(hooked=HOOKED, body=own.format("half", "") + "    raise ValueError('half')"),
    )
    listed = json.loads(meter.command("plugins", "--json").stdout)
    errors = {fault["plugin"]: fault["error"] for fault in listed["faults"]}
    assert errors.keys() == {"first", "second", "usurper", "copier", "halfway"}
    assert "'status' that it adds is taken by meter itself" in errors["usurper"]
    assert f"'greet' that it adds is taken by plugin {known_as('adder')}" in errors["copier"]
    assert "'wanted' is registered by more than one" in errors["first"]
    assert meter.command("greet").stdout == "hello\n"
    assert meter.command("half").returncode == 2

    expected = supplied(meter)
    assert meter.once().returncode == 0
    assert is_complete(meter, expected)
    assert meter.status()[0] == 0
    supplied(meter, theirs={"type": "wanted"})
    refused = meter.command("check")
    assert refused.returncode == 3
    assert f"{known_as('first')} and {known_as('second')}" in refused.stderr


def test_what_hangs_while_it_is_loaded_or_asked_is_given_up_and_named(
    meter: Meter, packages: Path
) -> None:
    hang = "    import threading; threading.Event().wait()\n"
    install(packages, "importing", HANG.format(before=""))
    install(packages, "offering", f"{HOOKED}@hookimpl\ndef meter_register_sinks():\n{hang}")
    install(packages, "adding", f"{HOOKED}@hookimpl\ndef meter_register_commands(cli):\n{hang}")
    meter._environ["METER_PLUGIN_SECONDS"] = "4"
    expected = supplied(meter)
    done = meter.once()
    assert done.returncode == 0, done.stderr
    assert is_complete(meter, expected)
    broken = {line["plugin"]: line["error"] for line in logged(done, "plugin.broken")}
    assert broken.keys() == set(map(known_as, ("importing", "offering", "adding")))
    assert all("did not come back within 4 s" in error for error in broken.values())


def test_ctrl_c_ends_a_command_while_a_plugin_hangs_in_its_import(
    meter: Meter, packages: Path
) -> None:
    sign = meter.folder / "hangs"
    install(packages, "importing", HANG.format(before=f"pathlib.Path({str(sign)!r}).touch()\n"))
    supplied(meter)
    meter.spawn()
    wait_until(sign.exists)
    assert meter.stop(signal.SIGINT, seconds=10) in {130, -signal.SIGINT}


MOODS = (
    "init raises",
    "open raises",
    "open 'nonsense'",
    "deliver raises",
    "deliver exits",
    "deliver mute",
    "deliver surrogate",
    "deliver fatal",
    "deliver None",
    "deliver {'delivered': []}",
    "deliver Report(delivered=['assemblyai:transcript:never-there'])",
    "deliver Report([e.event_id for e in batch.events], held={batch.events[3].event_id: 'x'})",
    "deliver Report(delivered=None)",
    "deliver Report(delivered=5)",
    "deliver Report(held={e.event_id: object() for e in batch.events})",
    "deliver Report(rejected={e.event_id: '\\ud800' for e in batch.events})",
    "deliver Report(state=['x'])",
    "deliver Report(recall=['x'])",
)
PARKING = {2, 4, *range(7, len(MOODS))}
"""Which of them no other attempt can put right; the rest is tried again."""


def test_a_sink_that_raises_or_answers_rubbish_is_named_and_loses_or_doubles_nothing(
    meter: Meter, packages: Path
) -> None:
    install(packages, "moody", MOODY)
    expected = supplied(meter, **moody(*MOODS))
    done = meter.once()
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert is_complete(meter, expected)
    code, status = meter.status()
    assert code == 0
    stands = {b["sink"]: b for b in status["balances"]}
    for number, mood in enumerate(MOODS):
        stand = stands[f"m{number}"]
        assert (stand["delivered"], stand["dead_lettered"]) == (0, 0), mood
        if mood != "deliver fatal":
            assert known_as("moody") in (stand["parked"] or stand["trouble"] or ""), (mood, stand)
        assert bool(stand["parked"]) == (number in PARKING), mood
    assert "'assemblyai:transcript:never-there'" in stands["m10"]["parked"]
    twice = sorted(row.event_id for row in expected)[3]
    assert f"{twice!r} more than one outcome" in stands["m11"]["parked"]

    (meter.folder / "healthy").touch()
    assert meter.once().returncode == 0
    ids = [row.event_id for row in expected]
    for number, mood in enumerate(MOODS):
        assert taken(meter.folder, f"m{number}") == ids, mood
    assert meter.status()[0] == 0


def test_a_sink_that_fails_beside_its_deliveries_has_delivered_everything_once(
    meter: Meter, packages: Path
) -> None:
    moods = [f"{method} raises" for method in ("tend", "close", "status", "explain", "check")]
    install(packages, "moody", MOODY)
    expected = supplied(meter, **moody(*moods, "tend 7", "tend Report(delivered=['x'])"))
    done = meter.once()
    assert is_complete(meter, expected)
    ids = [row.event_id for row in expected]
    for number in range(5):
        assert taken(meter.folder, f"m{number}") == ids
    assert [line["plugin"] for line in logged(done, "sink.close_failed")] == [known_as("moody")]
    code, status = meter.status()
    assert code == 0
    assert status["faults"] == {
        "m2": f"plugin {known_as('moody')}: ZeroDivisionError: broken in status"
    }
    stands = {b["sink"]: b for b in status["balances"]}
    tending = [line for line in logged(done, "sink.failed") if line["sink"] == "m0"]
    assert tending[0]["error"] == "ZeroDivisionError: broken in tend"
    assert tending[0]["plugin"] == known_as("moody")
    assert "`tend` returned int" in stands["m5"]["parked"]
    assert "about events of a batch" in stands["m6"]["parked"]
    asked = meter.command("events", ids[0])
    assert f"plugin {known_as('moody')}: ZeroDivisionError: broken in explain" in asked.stdout
    checked = meter.command("check", "--connect")
    assert checked.returncode == 1
    assert f"plugin {known_as('moody')}: ZeroDivisionError: broken in check" in checked.stdout


def test_a_sink_that_hangs_is_told_of_with_its_call_and_holds_up_nobody(
    meter: Meter, packages: Path
) -> None:
    methods = ("open", "deliver", "tend")
    install(packages, "moody", MOODY)
    expected = supplied(meter, **moody(*(f"{m} hangs" for m in methods), "routes raises"))
    meter._environ["METER_PLUGIN_SECONDS"] = "4"
    meter.start()
    del meter._environ["METER_PLUGIN_SECONDS"]
    wait_until(lambda: is_complete(meter, expected))
    wait_until(lambda: len(meter.logs("sink.hangs")) == len(methods))

    def troubles() -> dict[str, str]:
        return {b["sink"]: b["trouble"] for b in meter.status()[1]["balances"] if b["trouble"]}

    wait_until(lambda: len(troubles()) == len(methods))
    told = troubles()
    start = f"plugin {known_as('moody')} has not come back from "
    assert told["m0"].startswith(f"{start}`open` since ")
    assert told["m1"].startswith(f"{start}`deliver` with {COUNT} events since ")
    assert told["m2"].startswith(f"{start}`tend` since ")
    for line in meter.logs("sink.hangs"):
        assert line["plugin"] == known_as("moody")
        assert "meter_plugin_moody.py" in line["where"]
    assert [line["plugin"] for line in meter.logs("sink.no_routes")] == [known_as("moody")]
    ids = [row.event_id for row in expected]
    assert taken(meter.folder, "m3") == ids
    assert meter.stop() == 0

    (meter.folder / "healthy").touch()
    assert meter.once().returncode == 0
    assert [taken(meter.folder, f"m{n}") for n in range(4)] == [ids] * 4
    assert troubles() == {}


def test_a_sink_that_hangs_when_it_is_asked_is_named_and_the_others_answer(
    meter: Meter, packages: Path
) -> None:
    install(packages, "moody", MOODY)
    moods = ("status hangs", "explain hangs", "routes hangs", "status ['I am well']", "status 7")
    expected = supplied(meter, **moody(*moods))
    ids = [row.event_id for row in expected]
    meter._environ["METER_PLUGIN_SECONDS"] = "4"
    meter.start()
    wait_until(lambda: all(taken(meter.folder, f"m{n}") == ids for n in range(5)))
    wait_until(lambda: is_complete(meter, expected))
    assert [line["sink"] for line in meter.logs("sink.no_routes")] == ["m2"]
    assert meter.stop() == 0

    hangs = f"plugin {known_as('moody')} did not come back within 4 s"
    code, status = meter.status()
    assert code == 0
    assert status["sinks"]["m3"] == ["I am well"]
    assert status["faults"].keys() == {"m0", "m4"}
    assert status["faults"]["m0"] == hangs
    asked = meter.command("events", ids[0])
    assert asked.returncode == 0
    assert asked.stdout.count(hangs) == 1


WRAPPER = f"""\
{HOOKED}
import threading
@hookimpl(wrapper=True)
def meter_deliver(sink, batch):
    name = sink.context.name
    if name == "m0":
        raise ZeroDivisionError("before")
    try:
        report = yield
    except ZeroDivisionError:
        return None
    if name == "m1":
        raise ZeroDivisionError("after")
    if name == "m3":
        raise SystemExit(4)
    return "rubbish" if name == "m2" else report
"""
PLAIN = f"""\
{HOOKED}
@hookimpl(tryfirst=True)
def meter_deliver(sink, batch):
    return 7 if sink.context.name == "m4" else None
"""


def test_a_plugin_in_the_way_of_deliveries_is_named_and_no_usage_is_doubled(
    meter: Meter, packages: Path
) -> None:
    install(packages, "moody", MOODY)
    install(packages, "wrapper", WRAPPER)
    install(packages, "plain", PLAIN)
    moods = ["well"] * 5 + ["deliver raises"]
    expected = supplied(meter, **moody(*moods))
    ids = [row.event_id for row in expected]
    done = meter.once()
    assert done.returncode == 1, done.stderr
    assert is_complete(meter, expected)
    assert [taken(meter.folder, f"m{n}") for n in range(6)] == [[], ids, ids, ids, [], []]
    stands = {b["sink"]: b for b in meter.status()[1]["balances"]}
    assert [stands[f"m{n}"]["delivered"] for n in range(6)] == [0, COUNT, COUNT, COUNT, 0, 0]
    assert f"plugin {known_as('wrapper')}: ZeroDivisionError: before" in stands["m0"]["trouble"]
    assert known_as("plain") in stands["m4"]["parked"]
    assert "broken in deliver" in stands["m5"]["trouble"]
    failed = logged(done, "plugin.deliver_failed")
    assert {line["sink"] for line in failed} == {"m1", "m2", "m3", "m5"}
    assert all(known_as("wrapper") in line["plugin"] for line in failed)

    for name in ("wrapper", "plain"):
        (packages / f"meter_plugin_{name}.py").write_text("")
    (meter.folder / "healthy").touch()
    assert meter.once().returncode == 0
    assert [taken(meter.folder, f"m{n}") for n in range(6)] == [ids] * 6


def test_observers_and_enrichers_that_misbehave_lose_no_event_and_hold_nothing_up(
    meter: Meter, packages: Path
) -> None:
    hook = HOOKED + "import threading\n@hookimpl\ndef {}(event):\n    {}\n"
    enrichers = {
        "raiser": "raise ZeroDivisionError('no dimensions')",
        "lister": "return ['team', 'blue']",
        "number": "return {'team': 5}",
        "surrogate": "return {'team': '\\ud800'}",
        "sleeper": "threading.Event().wait()",
        "leaver": "raise SystemExit(3)",
    }
    for name, body in enrichers.items():
        install(packages, name, hook.format("meter_enrich_event", body))
    install(packages, "watcher", hook.format("meter_event_recorded", "raise SystemExit(3)"))
    install(packages, "starer", hook.format("meter_event_recorded", "threading.Event().wait()"))
    delivered = "meter_batch_delivered(sink_name):\n    threading.Event().wait()\ndef unused"
    install(packages, "gazer", hook.format(delivered, "pass"))
    install(packages, "good", hook.format("meter_enrich_event", "return {'team': 'blue'}"))
    expected = supplied(meter)
    done = meter.once()
    assert done.returncode == 0, done.stderr
    ledger = books.in_sqlite(meter.folder / "usage.db")
    assert [row.event_id for row in ledger] == [row.event_id for row in expected]
    failed = logged(done, "plugin.enrich_failed")
    assert {line["plugin"] for line in failed} == set(map(known_as, enrichers))
    assert len(failed) == len(enrichers) * COUNT
    assert {line["plugin"] for line in logged(done, "plugin.observer_failed")} == {
        known_as("watcher")
    }
    teams = books.rows(
        meter.folder / "usage.db", "SELECT DISTINCT json_extract(dimensions, '$.team') FROM usage"
    )
    assert teams == [("blue",)]
