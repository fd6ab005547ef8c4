"""Ask a sink something outside deliveries; one that fails or hangs is named, the others go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.config import SinkConfig
    from meter.journal import Journal
    from meter.sinks import Sink

__all__ = ["Answer", "ask"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sink said.

    Attributes:
        lines: its words.
        error: why it could not answer; None when it did.
    """

    lines: tuple[str, ...] = ()
    error: str | None = None


def ask(
    entry: SinkConfig,
    question: Callable[[Sink], Sequence[str]],
    *,
    journal: Journal,
    clock: Clock,
    seconds: float,
) -> Answer:
    """Put a question to an instance of a sink that is never opened.

    Args:
        entry: the sink in the pipelines file.
        question: calls a method of it, such as `status`.
        journal: what it may read its state from.
        clock: passed on.
        seconds: how long it may take; then its thread is left to itself, and the process can end.
    """
    import sys
    from contextlib import redirect_stdout

    from meter.delivery.contexts import unopened
    from meter.delivery.outcomes import describe
    from meter.errors import PluginError, SinkError
    from meter.plugins.aside import within

    def answered() -> tuple[str, ...]:
        lines = question(unopened(entry, journal=journal, clock=clock)) or ()
        return (lines,) if isinstance(lines, str) else tuple(str(line) for line in lines)

    try:
        with redirect_stdout(sys.stderr):  # standard output belongs to the command's data
            return Answer(within(seconds, answered, plugin=entry.extension.plugin))
    except PluginError as error:
        return Answer(error=describe(error))
    except SinkError as error:
        return Answer(error=str(error) or type(error).__name__)
    except BaseException as error:  # noqa: BLE001  a plugin may raise anything, in its own thread
        return Answer(error=f"plugin {entry.extension.plugin}: {describe(error)}")
