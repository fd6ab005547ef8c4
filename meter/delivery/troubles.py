"""Why a sink does not deliver, kept where `meter status` sees it."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from meter.delivery.calls import Call, Calls, frames_of, place
from meter.errors import JournalError
from meter.plugins import blamed

if TYPE_CHECKING:
    from meter.config import SinkConfig
    from meter.journal import Journal
    from meter.logs import FieldLogger
    from meter.plugins import Plugins

__all__ = ["Troubles"]


class Troubles:
    """Tells why one sink fails, or that it hangs: in the journal, once for each change.

    Attributes:
        known: what the journal has; None when nothing is the matter.
    """

    def __init__(
        self,
        config: SinkConfig,
        *,
        journal: Journal,
        plugins: Plugins,
        calls: Calls,
        log: FieldLogger,
    ) -> None:
        """Stand ready; the worker sets what the journal knows of an earlier run."""
        self.known: str | None = None
        self._config = config
        self._journal = journal
        self._plugins = plugins
        self._calls = calls
        self._log = log
        self._told_of: Call | None = None
        self._telling = threading.Lock()

    def tell(self, trouble: str | None) -> None:
        """Keep why the sink fails; None when it works."""
        with self._telling:
            self._keep(trouble)

    def look(self, thread: threading.Thread, seconds: float) -> None:
        """Tell, once, of a call that has not come back to the sink's thread for that long.

        Called from another thread. The journal has no column for it: it is told as a trouble,
        which goes when the sink works again.
        """
        call = self._calls.longer_than(seconds)
        if call is None or call is self._told_of:
            return
        self._told_of = call
        frames = frames_of(thread)
        # A sink that hangs may be hung by what wraps its deliveries.
        wrapping = self._plugins.wrapping(frame.f_code for frame in frames)
        plugin = wrapping or str(self._config.extension.plugin)
        self._log.warning(
            "sink.hangs",
            extra={
                "plugin": plugin,
                "call": call.method,
                "events": call.events,
                "since": call.since.isoformat(),
                "where": place(frames),
            },
        )
        given = f" with {call.events} events" if call.events else ""
        trouble = (
            f"plugin {plugin} has not come back from `{call.method}`{given} since "
            f"{call.since:%Y-%m-%dT%H:%M:%SZ}; to try again, restart `meter run`"
        )
        with self._telling:
            if self._calls.current is call:  # else it came back, and the worker tells how it is
                self._keep(trouble)

    def whose(self, error: BaseException) -> str:
        """Name the plugin that an error comes from: the sink's, unless it is another's."""
        return blamed(error) or str(self._config.extension.plugin)

    def _keep(self, trouble: str | None) -> None:
        if trouble != self.known:
            with contextlib.suppress(JournalError):  # it may be what fails
                self._journal.set_sink_trouble(self._config.name, trouble).wait()
                self.known = trouble
