"""Writing the files of `meter init`: nothing that is there is lost, and no secret is readable."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meter.errors import ConfigurationError

__all__ = ["KEPT", "NewFile", "backup_of", "write"]

KEPT: Final = (".env", ".gitignore", "customers.yaml")
"""Files with a life of their own: where one is there, it stays as it is, even with --force."""
_OPEN: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be made.

    Attributes:
        text: what goes into it.
        words: what it is, for the person.
    """

    text: str
    words: str


def write(
    folder: Path, files: Mapping[str, NewFile], *, folders: Iterable[Path] = (), force: bool
) -> dict[str, str]:
    """Make the files in a folder, which is made too where there is none.

    Args:
        folder: where.
        files: by name.
        folders: made as well: `meter run` makes none for its journal.
        force: what is in the way is kept under another name first.

    Returns:
        For each name what became of it, in words for the person.

    Raises:
        ConfigurationError: files are in the way, or the disk refuses; then nothing was
            overwritten.
    """
    there = [name for name in files if os.path.lexists(folder / name)]
    in_the_way = [name for name in there if name not in KEPT]
    if in_the_way and not force:
        raise ConfigurationError(
            f"{', '.join(str(folder / name) for name in in_the_way)}: there already, and nothing "
            "is overwritten; name another folder, or --force keeps each as a .bak"
        )
    told: dict[str, str] = {}
    try:
        for each in (folder, *folders):
            each.mkdir(parents=True, exist_ok=True)
        for name, file in files.items():
            if name in there and name in KEPT:
                told[name] = "is there already; left as it is"
                continue
            told[name] = file.words
            if name in there:
                backup = backup_of(folder / name)
                (folder / name).rename(backup)
                told[name] += f" (the one before is now {backup.name})"
            _make(folder / name, file.text)
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename or folder}: cannot be made: {error.strerror}"
        ) from None
    return told


def backup_of(path: Path) -> Path:
    """Return a name beside a file that is free."""
    number = 1
    while os.path.lexists(
        backup := path.with_name(f"{path.name}.bak{number if number > 1 else ''}")
    ):
        number += 1
    return backup


def _make(path: Path, text: str) -> None:
    """Make a file that was not there; only its owner reads what holds secrets."""
    mode = 0o600 if path.name == ".env" else 0o666
    with os.fdopen(os.open(path, _OPEN, mode), "w", encoding="utf-8") as file:
        file.write(text)
