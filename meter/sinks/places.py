"""Whether a file can be written where the pipelines file wants it: looked at, with nothing made."""

from __future__ import annotations

import os
from pathlib import Path

from meter.errors import FatalSinkError

__all__ = ["room_for"]


def room_for(path: Path) -> str:
    """Say that a file can be written at a path, for `Sink.check`; nothing is made or changed.

    Args:
        path: the file, which may not exist yet; nor need its folder.

    Raises:
        FatalSinkError: it cannot; the text says what stands in the way.
    """
    try:
        if path.is_dir():
            raise FatalSinkError(f"{path} is a folder; give `path:` a file")
        if path.exists():
            if not os.access(path, os.R_OK | os.W_OK):
                raise FatalSinkError(f"{path} cannot be written by this user; see its owner")
            return f"{path} can be written"
        above = next(folder for folder in path.absolute().parents if folder.exists())
        if not above.is_dir():
            raise FatalSinkError(f"{above} is a file, and {path} wants a folder there")
        if not os.access(above, os.W_OK | os.X_OK):
            raise FatalSinkError(f"{above} is a folder that this user cannot write in")
    except OSError as error:
        raise FatalSinkError(f"{path}: {error.strerror}") from error
    return f"{path} can be made"
