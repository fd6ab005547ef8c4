"""The spool: what must survive the user's process until meter has it, in a small folder on disk.

Several processes share a folder, each with files of its own. What a dead one left is adopted and
delivered first. The folder also holds `refused.jsonl`: items that meter will never take.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from meter.recording.log import say
from meter.recording.spool_file import SUFFIX, Kept, SpoolFile

__all__ = ["MOST_IN_MEMORY", "Spool", "default_folder"]

MOST_BYTES: Final = 64 * 1024 * 1024
"""What this process keeps on disk at most."""
ROTATE_BYTES: Final = 4 * 1024 * 1024
"""Beyond this a new file is begun; the old one goes as soon as it is delivered."""
MOST_IN_MEMORY: Final = 10_000
"""Items that wait without a file, when the disk takes none."""
MOST_REFUSED_BYTES: Final = 16 * 1024 * 1024
REFUSED: Final = "refused.jsonl"
_MOST_NAMED: Final = 5


def default_folder(key: str) -> Path | None:
    """Return where the spool for a destination lies, or None when there is no home to lie in."""
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"  # noqa: PTH117  an empty text is no path
    except RuntimeError:
        return None
    return base / "meter" / "spool" / key


class Spool:
    """The items of one recorder that wait. Used by one thread; never raises."""

    def __init__(self, folder: Path | None, key: str) -> None:
        """Use a folder, made when it is needed; None keeps everything in memory.

        Args:
            folder: where the files lie.
            key: the destination; only files that carry it are adopted.
        """
        self.folder = folder
        self._key = key
        self._own: SpoolFile | None = None
        self._others: list[SpoolFile] = []
        self._in_memory = 0
        self._trouble: str | None = None

    def adopt(self) -> list[Kept]:
        """Take over what dead processes left for this destination, oldest file first."""
        found: list[Kept] = []
        for path in self._paths():
            file = None if self._holds(path) else SpoolFile.adopt(path)
            if file is None:
                continue
            try:
                left = file.left()
            except OSError as error:
                say(logging.ERROR, "recording.spool_unreadable", file=str(path), error=str(error))
                file.forsake()
                continue
            if left:
                self._others.append(file)
                found += left
                say(logging.INFO, "recording.adopted", file=str(path), items=len(left))
            else:
                self._release(file)
        return found

    def warn_of_strangers(self) -> None:
        """Say what lies here for another destination: after a move, nobody would send it."""
        if self.folder is None:
            return
        # By default each destination has a folder of its own; `spool=` may hold several.
        around = self.folder.parent if self.folder.name == self._key else self.folder
        try:
            left = [
                path
                for path in sorted(around.rglob(f"*{SUFFIX}"))
                if not path.name.startswith(f"{self._key}-") and path.stat().st_size
            ]
        except OSError:
            return
        if left:
            say(
                logging.WARNING,
                "recording.others_wait",
                files=[str(path) for path in left[:_MOST_NAMED]],
                meaning="usage for another `to=`, which its own recorder sends; if that address is "
                f"gone, move the files to {self.folder} under names that begin with {self._key}-",
            )

    def keep(self, items: Sequence[bytes]) -> list[Kept]:
        """Make items durable, or keep them in memory where that fails.

        Returns:
            The items in order; those beyond what memory may hold are missing.
        """
        if (file := self._room_for(sum(map(len, items)))) is not None:
            try:
                kept = file.append(items)
            except OSError as error:
                self._is_in_trouble(f"{file.path}: {error.strerror or error}")
            else:
                self._is_well()
                return kept
        room = max(0, MOST_IN_MEMORY - self._in_memory)
        self._in_memory += len(items[:room])
        return [Kept(None, 0, len(item), item) for item in items[:room]]

    def done(self, items: Iterable[Kept]) -> None:
        """Forget items that meter has, or has refused."""
        by_file: dict[int, tuple[SpoolFile, list[Kept]]] = {}
        for item in items:
            if item.file is None:
                self._in_memory -= 1
            else:
                by_file.setdefault(id(item.file), (item.file, []))[1].append(item)
        for file, those in by_file.values():
            try:
                file.done(those)
            except OSError as error:  # they will be sent again, and be duplicates
                say(logging.WARNING, "recording.spool_unwritable", error=str(error))
            if file is not self._own and file.waiting <= 0:
                self._others.remove(file)
                self._release(file)

    def refuse(self, item: bytes, reason: str) -> None:
        """Keep an item that meter will never take where a person finds it."""
        kept = False
        if self.folder is not None:
            path = self.folder / REFUSED
            line = msgspec.json.encode({"reason": reason, "item": msgspec.Raw(item)}) + b"\n"
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                descriptor = os.open(path, flags, 0o600)
                try:
                    if os.fstat(descriptor).st_size < MOST_REFUSED_BYTES:
                        kept = os.write(descriptor, line) == len(line)
                        os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            except OSError:
                kept = False
        where = str(self.folder / REFUSED) if kept and self.folder is not None else "nowhere"
        say(logging.ERROR, "recording.refused", reason=reason, kept_in=where, **named(item))

    def close(self) -> None:
        """Let go of all files; those that hold something stay for the next process."""
        for file in [*self._others, *([self._own] if self._own else [])]:
            self._release(file)
        self._others, self._own = [], None

    def forsake(self) -> None:
        """Close what came over a fork; the parent goes on with it."""
        for file in [*self._others, *([self._own] if self._own else [])]:
            file.forsake()
        self._others, self._own = [], None

    def _paths(self) -> list[Path]:
        if self.folder is None:
            return []
        try:
            found = [(p.stat().st_mtime, p) for p in self.folder.glob(f"{self._key}-*{SUFFIX}")]
        except OSError:  # gone meanwhile, or no access: the next look will tell
            return []
        return [path for _, path in sorted(found)]

    def _holds(self, path: Path) -> bool:
        return any(f is not None and f.path == path for f in (self._own, *self._others))

    def _room_for(self, size: int) -> SpoolFile | None:
        """Return the file to write to, or None when there is none."""
        if self.folder is None:
            self._is_in_trouble("there is no home folder to keep a spool in; pass `spool=`")
            return None
        own = self._own
        if own is not None and own.size > ROTATE_BYTES and own.waiting:
            self._others.append(own)
            own = self._own = None
        used = sum(file.size for file in self._others) + (own.size if own else 0)
        if used + size > MOST_BYTES:
            self._is_in_trouble(f"{self.folder}: {used} bytes wait already, which is the most")
            return None
        if own is None:
            try:
                own = self._own = SpoolFile.create(self.folder, self._key)
            except OSError as error:
                self._is_in_trouble(f"{self.folder}: {error.strerror or error}")
        return own

    def _is_in_trouble(self, reason: str) -> None:
        if self._trouble is None:
            text = "items are kept in memory only, and are lost when this process dies"
            say(logging.ERROR, "recording.spool_unwritable", error=reason, meaning=text)
        self._trouble = reason

    def _is_well(self) -> None:
        if self._trouble is not None:
            say(logging.WARNING, "recording.spool_writable_again")
        self._trouble = None

    @staticmethod
    def _release(file: SpoolFile) -> None:
        try:
            file.release()
        except OSError as error:
            say(logging.WARNING, "recording.spool_unwritable", error=str(error))


def named(item: bytes) -> dict[str, object]:
    """Return what names an item in a log: the session it belongs to."""
    try:
        session_id = msgspec.json.decode(item).get("session_id")
    except (msgspec.DecodeError, AttributeError):
        session_id = None
    return {"session_id": session_id}
