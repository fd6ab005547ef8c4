"""The Stripe sink bills exactly once: in simulated worlds, each determined by its number.

A sample runs with the other tests. All of them:

    METER_WORLDS=1000 pytest -q tests/stripe/test_worlds.py -n 2

METER_WORLD_SEED=<number> begins elsewhere. One world, with a log that can be read:

    METER_WORLD=123 pytest -q tests/stripe/test_worlds.py -s
"""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from meter.sinks import Sink
from worlds.draws import draw_world
from worlds.naive import ForgetfulSender, NaiveSender
from worlds.trial import plainer, trial, workshop
from worlds.trouble import STEPS

ONE = os.environ.get("METER_WORLD")
WORLDS = int(os.environ.get("METER_WORLDS", "40"))
SEED = int(os.environ.get("METER_WORLD_SEED", "0"))
AT_A_TIME = 10
NAIVE = 20
FIRSTS = [int(ONE)] if ONE else list(range(SEED, SEED + WORLDS, AT_A_TIME))

MUST_OCCUR = (
    *(f"crash: {step}" for step in STEPS),
    "request lost",
    "response lost",
    "malformed",
    "status 401",
    "status 409",
    "status 429",
    "status 500",
    "status 503",
    "parked",
    "sink backed off",
    "journal reopened",
    "down for 23 h or more",
    "duplicates",
    "probes",
    "intent reissued",
    "intent absorbed",
    "stop",
    "rename",
    "flush",
    "recalled",
    "skew",
    "offered twice by a collector",
    "summaries hours late",
    "held as late",
    "customers mapped later",
    "error reports",
    "redriven",
    "archive",
    "intent rejected",
)


@pytest.fixture(scope="module")
def tally(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all the processes of this run of the tests share."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "worlds"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize("first", FIRSTS)
def test_stripe_bills_what_was_used_in_every_world(first: int, tmp_path: Path, tally: Path) -> None:
    seen: Counter[str] = Counter()
    failed = []
    with workshop(tmp_path) as place:
        for number in range(first, first + 1 if ONE else min(first + AT_A_TIME, SEED + WORLDS)):
            found = trial(number, place)
            seen += found.seen
            if found.verdict.faults:
                failed.append(found)
            if ONE:
                shown = (*found.log, *sorted(found.seen.items()), found)
                print(*shown, sep="\n")  # noqa: T201  because somebody wants to read it
    assert not failed, "\n".join(map(str, failed))
    if not ONE:
        note(tally, first, seen)


def note(tally: Path, first: int, seen: Counter[str]) -> None:
    """Add what happened to that of the other worlds; who is last sees that nothing is missing."""
    beside = tally / f"{first}.new"
    beside.write_text(json.dumps(seen))
    beside.replace(tally / f"{first}.json")
    files = [tally / f"{each}.json" for each in FIRSTS]
    if WORLDS < 40 or not all(file.exists() for file in files):
        return
    total: Counter[str] = Counter()
    for file in files:
        total.update(json.loads(file.read_text()))
    assert [kind for kind in MUST_OCCUR if not total[kind]] == []


@pytest.mark.skipif(ONE is not None, reason="one world is looked at")
@pytest.mark.parametrize(("sender", "share"), [(NaiveSender, 0.25), (ForgetfulSender, 0.6)])
def test_a_naive_sender_bills_too_much_in_the_same_worlds(
    sender: type[Sink], share: float, tmp_path: Path
) -> None:
    with workshop(tmp_path) as place:
        trials = [trial(plainer(draw_world(SEED + n)), place, sender) for n in range(NAIVE)]
    too_much = [found for found in trials if found.verdict.over >= 1]
    assert len(too_much) >= share * NAIVE


def test_a_world_is_wholly_determined_by_its_number(tmp_path: Path) -> None:
    with workshop(tmp_path) as place:
        one, other = trial(SEED + 3, place), trial(SEED + 3, place)
    assert one.log == other.log
    assert one.seen == other.seen


@pytest.mark.skipif(ONE is not None, reason="one world is looked at")
def test_what_is_undone_after_the_last_usage_leaves_nothing_too_much(tmp_path: Path) -> None:
    with workshop(tmp_path) as place:
        assert not trial(20903, place).verdict.faults
