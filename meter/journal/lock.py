"""The lock that lets one process run on a SQLite journal, released by the kernel on death."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from meter.errors import JournalLocked

__all__ = ["RunLock", "is_locked"]

LOOKS: Final = 3
LOOK_SECONDS: Final = 0.05


class RunLock:
    """An exclusive `flock` on `<journal>.lock`; the file's content names the owner's pid.

    The file is never deleted: deleting a lock file lets two owners lock two files.
    """

    def __init__(self, journal: Path) -> None:
        """Take the lock.

        Raises:
            JournalLocked: another process has it; the text names its pid.
        """
        self.path = _lock_of(journal)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not self._taken():
            owner = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise JournalLocked(
                f"another `meter run` (pid {owner or 'unknown'}) works on {journal}; stop it "
                "first, or give this one another `journal:`"
            )
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def _taken(self) -> bool:
        """Take the lock; again after a moment, in case a command was only looking at it."""
        for _ in range(LOOKS):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(LOOK_SECONDS)
            else:
                return True
        return False

    def release(self) -> None:
        """Let another process run on the journal."""
        os.close(self._descriptor)


def is_locked(journal: Path) -> bool:
    """Tell whether a process runs on a journal; holds nothing, and makes no file."""
    try:
        descriptor = os.open(_lock_of(journal), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock_of(journal: Path) -> Path:
    return journal.with_name(journal.name + ".lock")
