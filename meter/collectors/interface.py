"""The collector interface: what turns a source into events."""

from __future__ import annotations

import builtins
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from meter.sinks import options as _options  # noqa: TC001  beside `builtins`, for readers of the class

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.collectors.intake import Intake
    from meter.http import Route, SocketRoute
    from meter.journal import Journal

__all__ = ["Collector", "CollectorContext"]


@dataclass(frozen=True, slots=True)
class CollectorContext:
    """What a collector may use of meter.

    Attributes:
        name: the collector's name in the pipelines file; goes into its events.
        collectors: the names of all collectors in the file.
        intake: where facts go.
        journal: for what a collector remembers (its cursor).
        clock: ask it for the time instead of the machine.
        log: already carries the collector's name.
    """

    name: str
    collectors: frozenset[str]
    intake: Intake
    journal: Journal
    clock: Clock
    log: logging.LoggerAdapter[logging.Logger]


class Collector(ABC):
    """Turns a source into events. Return the class from `meter_register_collectors`.

    One instance serves one entry under `collectors:`, in meter's event loop.
    """

    type: ClassVar[str]
    """What stands as `type:` in the pipelines file."""
    Options: ClassVar[builtins.type[_options.Options]]
    """The options model; see `meter.sinks.Options`."""
    exemptions: ClassVar[Mapping[str, str]] = {}
    """The cases of `meter.testing.CollectorConformance` that this collector cannot pass: the name
    of the case, and one sentence that says why."""

    def __init__(self, options: Any, context: CollectorContext) -> None:
        """Keep what is needed; touch nothing outside yet."""
        self.options = options
        self.context = context

    def routes(self) -> Sequence[Route]:
        """Return the HTTP routes that the server should mount; none by default."""
        return ()

    @classmethod
    def paths(cls, options: Any) -> Sequence[str]:
        """Return the paths that these options claim on the port, so that `check` can compare."""
        del options
        return ()

    def sockets(self) -> Sequence[SocketRoute]:
        """Return the WebSocket routes that the server should mount; none by default."""
        return ()

    def check(self) -> Iterable[str]:
        """Try keys, addresses and files for `meter check --connect`, and say what was found.

        Called on an instance that never runs, in a thread of its own: it may block, and may use
        `asyncio.run`. It changes nothing outside and records nothing.

        Returns:
            A line for each thing that is in order; one that begins with `warning: ` is shown as
            such. As a generator, what it yielded before an error is shown as well.

        Raises:
            CollectorError: what is wrong, and what to do; a line for each thing.
        """
        return ()

    @classmethod
    def sandboxed(cls, options: Any, doubles: Mapping[str, str]) -> Any:
        """Return options that reach nothing but this machine; see `Sink.sandboxed`."""
        del options, doubles

    @abstractmethod
    async def run(self, *, once: bool) -> None:
        """Collect: with `once` what there is now, otherwise until cancelled.

        Cancellation may come at any await: a fact counts only when the intake has it.

        Raises:
            CollectorError: the source cannot be read; the others go on.
        """
