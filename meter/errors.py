"""Every error that meter raises on purpose, grouped by what the caller does next.

```
MeterError                     exit code
├── ConfigurationError         2   correct the file or the command, then run again
├── PluginError                3   update, fix or uninstall the plugin that is named
├── JournalError               4   look at the journal: its disk, its owner, its age
│   ├── JournalLocked          4   another `meter run` owns it: use that one, or stop it
│   └── JournalUnavailable     4   nothing was written: try again, the caller still has the fact
├── InvalidEvent               1   the fact cannot be an event: quarantine it with the reason
├── CollectorError             1   a source could not be read: see the message
└── SinkError                  1   raised by sinks, read by delivery
    ├── RetryableSinkError     1   the same batch again later, not before `retry_after`
    └── FatalSinkError         1   park the sink, keep everything, tell the operator
```

A sink that raises anything else is believed to be broken for *some* event: delivery
then splits the batch to find it.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "CollectorError",
    "ConfigurationError",
    "FatalSinkError",
    "InvalidEvent",
    "JournalError",
    "JournalLocked",
    "JournalUnavailable",
    "MeterError",
    "PluginError",
    "RetryableSinkError",
    "SinkError",
]


class MeterError(Exception):
    """The root of the tree: catch it to catch everything that meter raises on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigurationError(MeterError):
    """A pipelines file or a command line cannot be used as it stands.

    Its text holds every fault that was found, one a line, each with its place.
    """

    exit_code = 2


class PluginError(MeterError):
    """A plugin that the configuration needs is missing, broken or ambiguous."""

    exit_code = 3


class JournalError(MeterError):
    """The journal cannot be opened, or is not what it should be."""

    exit_code = 4


class JournalLocked(JournalError):
    """Another process runs on this journal (DESIGN §5: one `meter run` per SQLite journal)."""


class JournalUnavailable(JournalError):
    """The journal could not commit; nothing of the request was stored.

    The caller still holds the fact and must not acknowledge it.
    """


class InvalidEvent(MeterError, ValueError):
    """What was received cannot become an event; the text says which field and why."""


class CollectorError(MeterError):
    """A collector cannot read its source."""


class SinkError(MeterError):
    """The root of what a sink raises to say what should happen next."""


class RetryableSinkError(SinkError):
    """The destination did not take the batch *now*; nothing is known to be wrong with it.

    Args:
        message: what happened, without secrets.
        retry_after: seconds to wait at least, as the destination asked; None leaves the
            waiting to meter's own back-off.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class FatalSinkError(SinkError):
    """Nothing will get through until a person acts: a wrong key, a foreign file.

    The sink is parked: its events stay in the journal, the other sinks go on.
    """
