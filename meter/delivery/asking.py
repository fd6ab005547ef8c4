"""Ask a sink something outside deliveries: whatever it does, there is an answer in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meter.delivery.contexts import unopened
from meter.delivery.outcomes import describe
from meter.errors import PluginError, SinkError

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.config import SinkConfig
    from meter.journal import Journal
    from meter.sinks import Sink

__all__ = ["Answer", "answered"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sink said.

    Attributes:
        lines: its words.
        error: why it could not answer; None when it did.
    """

    lines: tuple[str, ...] = ()
    error: str | None = None


def answered(
    entry: SinkConfig, question: Callable[[Sink], Sequence[str]], *, journal: Journal, clock: Clock
) -> Answer:
    """Put a question to an instance of a sink that is never opened, in the calling thread.

    It may never come back: a plugin is best asked in a thread of its own.

    Args:
        entry: the sink in the pipelines file.
        question: calls a method of it, such as `status`.
        journal: what it may read its state from.
        clock: passed on.
    """
    try:
        lines = question(unopened(entry, journal=journal, clock=clock)) or ()
        return Answer((lines,) if isinstance(lines, str) else tuple(str(line) for line in lines))
    except PluginError as error:
        return Answer(error=describe(error))
    except SinkError as error:
        return Answer(error=str(error) or type(error).__name__)
    except BaseException as error:  # noqa: BLE001  because a plugin may raise anything
        return Answer(error=f"plugin {entry.extension.plugin}: {describe(error)}")
