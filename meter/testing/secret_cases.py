"""Cases about secrets: with everything going wrong, none is printed or stored anywhere."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meter.clock import SystemClock
from meter.errors import ConfigurationError
from meter.testing.bench import SinkBench
from meter.testing.case import case, require
from meter.testing.clock import FakeClock
from meter.testing.faults import DestinationFault, FaultInjector
from meter.testing.secrets import SHORTEST, leaks, misdirected, secret_values, undeclared
from meter.testing.sink_cases import SinkCases
from meter.testing.site import SINK, Site

if TYPE_CHECKING:
    from meter.testing.children import Child, Children

__all__ = ["SecretCases"]

ATTEMPTS: Final = 4
LOOK_SECONDS: Final = 0.02
COMMANDS: Final = {
    "`meter check --connect`": ("check", "--connect"),
    "`meter status --json`": ("status", "--json"),
}


class SecretCases(SinkCases):
    """Logs, errors, representations, the journal, and what commands print."""

    @case
    def test_its_credentials_are_declared_as_secrets(self) -> None:
        """Finds a key that is an ordinary text option, and prints itself in every error."""
        require(undeclared(self.sink_class.Options), "options:")

    @case
    def test_no_secret_is_in_any_output(
        self,
        sink_config: Mapping[str, Any],
        faults: FaultInjector | None,
        site_folder: Path,
        tmp_path_factory: Any,
        clock: FakeClock,
        start_children: Callable[[Site], Children],
    ) -> None:
        """Finds a key in a log line, an error, a representation, the journal or a command."""
        texts: dict[str, str | bytes] = {}
        with SinkBench(site_folder / "right", sink_config, clock=clock) as bench, _logs(texts):
            options = bench.options
            secrets = secret_values(options, sink_config)
            self._deliver(bench, texts, faults)
            texts["repr of the options"] = f"{options!r} {options}"
            texts["repr of the sink"] = repr(bench.sink_class(options, bench.context()))
        if not secrets:
            return
        short = [s for s in secrets if len(s) < SHORTEST]
        require(
            not short,
            f"give secrets of {SHORTEST} characters or more in `sink_config`, so that they can "
            f"be looked for ({len(short)} are shorter)",
        )
        folder = tmp_path_factory.mktemp("wrong")
        wrong = misdirected(options, sink_config, folder)
        with _logs(texts):
            try:
                with SinkBench(folder, wrong, clock=clock) as bench:
                    self._deliver(bench, texts, None)
            except ConfigurationError as error:
                texts["the refusal of a wrong destination"] = _told(error)
        for name, entry in (("right", sink_config), ("wrong", wrong)):
            site = Site(site_folder / f"{name}-commands", {SINK: entry})
            self._commands(site, start_children(site), texts, name)
        for place in (site_folder, folder):
            for file in place.rglob("meter.db*"):
                texts[f"the journal ({file.name})"] = file.read_bytes()
        require(leaks(secrets, texts), "secrets in plain sight:")

    def _deliver(
        self, bench: SinkBench, texts: dict[str, str | bytes], faults: FaultInjector | None
    ) -> None:
        """Deliver a little under every fault that can be had, and keep what was raised."""
        for number, fault in enumerate([None, *DestinationFault]):
            if fault is not None and faults is not None:
                faults.fail_next(fault)
            bench.record(self.events(3, bench.clock, f"secret-{number}"))
            for _ in range(ATTEMPTS):
                try:
                    if not bench.worker.step():
                        break
                except Exception as error:  # noqa: BLE001  because a sink may raise anything
                    texts[f"the error {type(error).__name__} ({number})"] = _told(error)
                    bench.clock.advance(seconds=bench.worker.recover(error))
        if faults is not None:
            faults.heal()
        bench.reopen()

    def _commands(
        self, site: Site, children: Children, texts: dict[str, str | bytes], which: str
    ) -> None:
        site.record(self.events(2, FakeClock(SystemClock().now()), which), SystemClock())
        where = f"({which} destination)"
        if which == "wrong":  # the right one knows another journal already
            texts[f"`meter run --once` {where}"] = self._until_it_fails(children.start())
        for what, (name, *flags) in COMMANDS.items():
            ended = children.run(name, str(site.file), *flags)
            texts[f"{what} {where}"] = ended.output

    def _until_it_fails(self, child: Child) -> str:
        """Return what a child says until its sink failed for the first time."""
        deadline = time.monotonic() + self.child_seconds
        while not child.has_ended() and time.monotonic() < deadline:
            if any(word in child.said() for word in ("sink.failed", "sink.parked")):
                break
            time.sleep(LOOK_SECONDS)
        child.end()
        return child.said()


@contextmanager
def _logs(texts: dict[str, str | bytes]) -> Iterator[None]:
    """Keep every log line of this process from DEBUG on, with its fields and traceback."""
    kept: list[str] = []

    class Keeps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            fields = {name: str(value) for name, value in vars(record).items()}
            kept.append(f"{self.format(record)} {fields}")

    root, handler = logging.getLogger(), Keeps(logging.DEBUG)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        texts["the log"] = "\n".join([str(texts.get("the log", "")), *kept])


def _told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)
