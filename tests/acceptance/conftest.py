"""A meter in a folder of its own, and loopback without proxies for the SDK in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.process import LOCAL, Meter


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, LOCAL)


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[Meter]:
    meter = Meter(tmp_path / "site")
    yield meter
    meter.kill()
