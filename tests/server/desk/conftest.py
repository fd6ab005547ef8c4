from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from server.desk.scene import SECRET, fill, opened
from server.desk.serving import Desk, served
from support.clocks import FakeClock

if TYPE_CHECKING:
    import httpx


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Desk]:
    """The page of an empty journal, without a secret."""
    with served(tmp_path) as desk:
        yield desk


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Desk]:
    """The page of an empty journal, behind a secret."""
    with served(tmp_path, secret=SECRET) as desk:
        yield desk


@pytest.fixture(scope="session")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal in every trouble, to be copied."""
    folder, clock = tmp_path_factory.mktemp("scene"), FakeClock()
    with opened(folder, clock) as journal:
        fill(journal, clock.now())
    return folder / "meter.db"


@pytest.fixture
def full(tmp_path: Path, troubled: Path) -> Iterator[Desk]:
    """The page of a journal in every trouble, without a secret."""
    shutil.copy(troubled, tmp_path)
    with served(tmp_path) as desk:
        yield desk


@pytest.fixture
def acting(tmp_path: Path, troubled: Path) -> Iterator[tuple[Desk, httpx.Client]]:
    """The page of a journal in every trouble, and somebody who has signed in."""
    shutil.copy(troubled, tmp_path)
    with served(tmp_path, secret=SECRET) as desk, desk.client() as client:
        signed_in = client.post("/desk/login", data={"secret": SECRET, "name": "Dana"})
        assert signed_in.status_code == 303
        yield desk, client
