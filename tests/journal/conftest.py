from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meter.journal import Journal, open_journal
from support.clocks import FakeClock

Opener = Callable[[], Journal]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["sqlite"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Opener]:
    """Opens the same journal again and again: one parameter a backend."""
    location = {"sqlite": str(tmp_path / "meter.db")}[request.param]
    opened: list[Journal] = []

    def open_again() -> Journal:
        opened.append(open_journal(location, clock))
        return opened[-1]

    yield open_again
    for journal in opened:
        journal.close()


@pytest.fixture
def journal(reopen: Opener) -> Journal:
    return reopen()
