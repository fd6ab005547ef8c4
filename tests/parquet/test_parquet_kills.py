"""`kill -9` between any two calls that change something, in the middle of several months.

Every second call is tried with the other tests; all of them with

    METER_KILLS=all pytest tests/parquet/test_parquet_kills.py
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from parquet.killed import NEW, OLD

STEP = 1 if os.environ.get("METER_KILLS") == "all" else 2
BEFORE = [f"{n:04}" for n in range(OLD)]
EVERYTHING = [f"{n:04}" for n in range(OLD + NEW)]


@pytest.mark.parametrize(("every", "first"), [("0s", 1), ("15m", STEP)], ids=["new", "retry"])
def test_a_batch_of_three_months_is_there_once_and_whole_after_any_kill(
    tmp_path: Path, every: str, first: int
) -> None:
    tests = Path(__file__).parents[1]
    ran = subprocess.run(
        [sys.executable, tests / "parquet" / "killed.py", tmp_path, every, str(first), str(STEP)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    *lives, last = [json.loads(line) for line in ran.stdout.splitlines()]
    assert {life["ended"] for life in lives} == {-signal.SIGKILL}
    assert last["ended"] == 0
    assert len(lives) >= 30 / STEP
    for life in [*lives, last]:
        assert life["went_on"] == 0
        killed, opened, ended = life["seen"]
        assert len(set(killed)) == len(killed), "never twice, not even for a moment"
        assert set(BEFORE) <= set(killed), "never taken back"
        assert opened in (BEFORE, EVERYTHING), "a batch is whole, or it is not there"
        assert ended == EVERYTHING
        assert life["left"] == []
    partly = [life for life in lives if BEFORE != life["seen"][0] != EVERYTHING]
    assert partly, "some kill fell between two of the files of a batch"
    assert all(life["seen"][1] == EVERYTHING for life in partly)
