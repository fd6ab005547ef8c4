"""Ask a sink something outside deliveries; one that fails or hangs is named, the others go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.config import SinkConfig
    from meter.delivery.asking import Answer
    from meter.journal import Journal
    from meter.sinks import Sink

__all__ = ["ask"]


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

    from meter.delivery.asking import Answer, answered
    from meter.delivery.outcomes import describe
    from meter.errors import PluginError
    from meter.plugins.aside import within

    def asked() -> Answer:
        return answered(entry, question, journal=journal, clock=clock)

    try:
        with redirect_stdout(sys.stderr):  # standard output belongs to the command's data
            return within(seconds, asked, plugin=entry.extension.plugin)
    except PluginError as error:
        return Answer(error=describe(error))
