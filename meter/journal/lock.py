"""The lock that lets one process run on a SQLite journal, released by the kernel on death."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from meter.errors import JournalLocked

__all__ = ["RunLock"]


class RunLock:
    """An exclusive `flock` on `<journal>.lock`; the file's content names the owner's pid.

    The file is never deleted: deleting a lock file lets two owners lock two files.
    """

    def __init__(self, journal: Path) -> None:
        """Take the lock.

        Raises:
            JournalLocked: another process has it; the text names its pid.
        """
        self.path = journal.with_name(journal.name + ".lock")
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise JournalLocked(
                f"another `meter run` (pid {owner or 'unknown'}) works on {journal}; stop it "
                "first, or give this one another `journal:`"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process run on the journal."""
        os.close(self._descriptor)
