from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from meter.journal import Journal, open_journal
from support.clocks import FakeClock


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = open_journal(str(tmp_path / "meter.db"), FakeClock())
    yield opened
    opened.close()
