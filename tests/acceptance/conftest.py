"""A meter in a folder of its own, and loopback without proxies for the SDK in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.packages import Stranger, unpacked
from acceptance.process import LOCAL, Meter


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, LOCAL)


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH with the stranger's package in it."""
    return unpacked(tmp_path / "packages")


@pytest.fixture
def meter(tmp_path: Path, packages: Path) -> Iterator[Meter]:
    meter = Meter(tmp_path / "site", packages=packages)
    yield meter
    meter.kill()


@pytest.fixture
def stranger(meter: Meter) -> Stranger:
    return Stranger(meter.folder)
