"""The pipelines files that docs/http.md shows, run by a worker on a test's own clock."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from meter.config import load_config
from meter.delivery import SinkWorker
from meter.errors import FatalSinkError
from meter.events import Event
from meter.journal import Balance, ExceptionRow, open_journal
from meter.plugins import load_plugins
from support.clocks import FakeClock

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "http.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def marked(mark: str) -> str:
    (found,) = re.findall(rf"<!-- {mark} -->\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


def shown(sink: str) -> str:
    """Return the one pipelines file of the page that has a sink of this name."""
    (found,) = [text for text in blocks("yaml") if f"\n  {sink}:\n" in text]
    return found


class Documented:
    """A journal, and the sink of one file of the page."""

    def __init__(self, folder: Path, sink: str, clock: FakeClock, **environ: str) -> None:
        self.clock = clock
        self._sink = sink
        path = folder / "pipelines.yaml"
        path.write_text(shown(sink))
        variables = {"METER_INGEST_SECRET": "x", **environ}
        self.config = load_config(path, load_plugins(), environ=variables)
        self.journal = open_journal(str(folder / "meter.db"), clock)
        self.parked = ""
        self.trouble: list[str] = []
        self._worker: SinkWorker | None = None

    def end(self) -> None:
        if self._worker is not None:
            self._worker._close()
        self.journal.close()

    def record(self, events: Iterable[Event]) -> None:
        self.journal.append(list(events)).wait()

    def run(self) -> None:
        """Let the sink work until nothing is due, or it fails as a whole."""
        for _ in range(200):
            try:
                if not self._working().step():
                    return
            except FatalSinkError as error:
                self.parked = str(error)
                self._working()._close()
                return
            except Exception as error:  # noqa: BLE001  because a worker's thread waits after any
                # What the thread does then, less the waiting: that is the test's to do.
                self.trouble.append(f"{type(error).__name__}: {error}")
                self._working()._close()
                self._working()._backoff.fail(None)
                return
        raise AssertionError("it never came to rest")

    def pass_(self, **span: float) -> None:
        self.clock.advance(**span)
        self.run()

    def balance(self) -> Balance:
        (found,) = self.journal.totals().balances
        assert found.balances
        return found

    def row(self, event_id: str) -> ExceptionRow:
        (place,) = self.journal.exceptions.places(event_id)
        assert place.row is not None
        return place.row

    def _working(self) -> SinkWorker:
        if self._worker is None:
            self._worker = SinkWorker(
                self.config.sinks[self._sink],
                self.config.pipelines.values(),
                journal=self.journal,
                plugins=load_plugins(),
                clock=self.clock,
            )
        return self._worker
