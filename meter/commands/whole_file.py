"""A file that is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from meter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["new_file", "put_in_place", "whole_file"]


@contextlib.contextmanager
def whole_file(path: Path, *, replace: bool) -> Iterator[IO[bytes]]:
    """Write a file under another name, and give it its own once it is on the disk.

    One whose name ends in `.gz` is packed. Only its owner may read it: it names customers.

    Args:
        path: its final name.
        replace: take the place of a file of that name.

    Raises:
        ConfigurationError: it cannot be made; the text says why and what to do.
    """
    with new_file(path, replace=replace) as (working, place):
        with _reported(path), working.open("wb") as raw:
            if path.suffix == ".gz":
                import gzip

                # No name and no time in it: the same events make the same file.
                with gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
                    yield packed  # type: ignore[misc]  # because a GzipFile is written like any other
            else:
                yield raw
            raw.flush()
            os.fsync(raw.fileno())
        place()


@contextlib.contextmanager
def new_file(path: Path, *, replace: bool) -> Iterator[tuple[Path, Callable[[], None]]]:
    """Give an empty file beside a name, and the call that puts it there; otherwise it is removed.

    Raises:
        ConfigurationError: it cannot be made; the text says why and what to do.
    """
    if not replace and path.exists():
        raise ConfigurationError(f"{path} is there already; name another file, or remove it")
    working = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with _reported(path):
            os.close(os.open(working, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield working, lambda: put_in_place(working, path, replace=replace)
    finally:
        working.unlink(missing_ok=True)


def put_in_place(working: Path, path: Path, *, replace: bool) -> None:
    """Give a file its final name, durably.

    Raises:
        ConfigurationError: a file of that name has come meanwhile, or the disk fails.
    """
    with _reported(path):
        if replace:
            working.replace(path)
        else:
            try:
                os.link(working, path)  # unlike a rename, it takes nobody's place
            except FileExistsError:
                raise ConfigurationError(
                    f"{path} is there already; name another file, or remove it"
                ) from None
            except OSError:  # a file system without links
                if path.exists():
                    raise
                working.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {path}: {error.strerror or error}; check the folder, its permissions "
            "and the disk"
        ) from None
