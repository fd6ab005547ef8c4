"""One recorder for all taps of a process that record to the same place.

The house rule is "no global state". Here it would cost each session of a server that taps a
thousand clients a thread, a connection and a file; and `tap` promises to be one line, so that
there is no object of the user's to keep them in. Whoever wants none passes a `Recorder`.
"""

from __future__ import annotations

import os
import threading
from typing import Final

from meter.recording.recorder import Recorder

__all__ = ["shared_recorder"]

_recorders: Final[dict[tuple[object, ...], Recorder]] = {}
_guard: Final = threading.RLock()


def shared_recorder(
    to: str | os.PathLike[str],
    *,
    secret: str | None,
    collector: str | None,
    spool: str | os.PathLike[str] | None,
) -> Recorder:
    """Return this process's recorder for a destination, made when it is first asked for.

    Raises:
        ValueError: see `Recorder`.
    """
    given = secret if secret is not None else os.environ.get("METER_INGEST_SECRET")
    key = (os.fspath(to) if isinstance(to, os.PathLike) else to, given, collector, spool)
    with _guard:
        found = _recorders.get(key)
        if found is not None:
            return found
        made = Recorder(to, secret=secret, collector=collector, spool=spool)
        if not _recorders:
            # A fork while another thread is in here would leave the child a lock for ever.
            os.register_at_fork(
                before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_guard.release
            )
        _recorders[key] = made
        return made
