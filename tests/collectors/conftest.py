from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meter.collectors.intake import Intake
from meter.collectors.interface import CollectorContext
from meter.journal import Journal, open_journal
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.webhooks import WebhookRules
from support.clocks import FakeClock
from support.plugging import plugins_with


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", f"127.0.0.1,{os.environ.get('NO_PROXY', '')}")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def journal(tmp_path: Path, clock: FakeClock) -> Iterator[Journal]:
    opened = open_journal(str(tmp_path / "m.db"), clock)
    yield opened
    opened.close()


MakeContext = Callable[..., CollectorContext]


@pytest.fixture
def context(journal: Journal, clock: FakeClock) -> MakeContext:
    def make(*plugins: object, name: str = "transcripts") -> CollectorContext:
        return CollectorContext(
            name=name,
            collectors=frozenset({name, "transcripts"}),
            intake=Intake(journal, plugins_with(*plugins)),
            journal=journal,
            clock=clock,
            log=logging.LoggerAdapter(logging.getLogger("test"), {}),
        )

    return make


@pytest.fixture
def double(clock: FakeClock) -> Iterator[AssemblyAISandbox]:
    rules = WebhookRules(attempts=1, retry_wait=0.05, timeout=1)
    with AssemblyAISandbox(latency=0, rules=rules, now=clock.now) as running:
        yield running
