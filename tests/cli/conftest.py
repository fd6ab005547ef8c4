from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.journal_site import site
from meter.clock import SystemClock
from meter.journal import Journal, open_journal
from support.full_journal import make


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("full") / "m.db"
    make(path)
    path.chmod(0o600)
    return path


@pytest.fixture
def full(tmp_path: Path, made: Path) -> Path:
    return site(tmp_path / "full", made)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return site(tmp_path / "empty")


@pytest.fixture
def opened() -> Iterator[Callable[[Path], Journal]]:
    journals: list[Journal] = []

    def open_it(folder: Path) -> Journal:
        journals.append(open_journal(str(folder / "m.db"), SystemClock()))
        return journals[-1]

    yield open_it
    for journal in journals:
        journal.close()
