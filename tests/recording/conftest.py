"""A meter, a provider, a spool of its own for every test, and recorders that are always closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meter import Recorder
from meter.sandbox.streaming import StreamingSandbox
from recording.ingest import SECRET, Ingest

# What SDK 1.8.2 does, websockets 17 deprecates.
SDK_WARNINGS = [
    "ignore:connect.* must be used as a context manager",
    "ignore:ConnectionClosed.* is deprecated",
]

Recording = Callable[..., Recorder]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(*SDK_WARNINGS))


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("METER_INGEST_SECRET", raising=False)


@pytest.fixture
def ingest(tmp_path: Path) -> Iterator[Ingest]:
    """A meter that is not started yet."""
    made = Ingest(tmp_path)
    yield made
    made.close()


@pytest.fixture
def double() -> Iterator[StreamingSandbox]:
    with StreamingSandbox(heartbeat_seconds=0.2) as running:
        yield running


@pytest.fixture
def recording(ingest: Ingest) -> Iterator[Recording]:
    """Make recorders to the test's meter."""
    made: list[Recorder] = []

    def make(to: Any = None, **given: Any) -> Recorder:
        if to is None:
            given.setdefault("secret", SECRET)
        made.append(Recorder(ingest.url if to is None else to, **given))
        return made[-1]

    yield make
    for recorder in made:
        recorder.close(0.1)
