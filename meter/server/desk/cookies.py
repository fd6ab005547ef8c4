"""The cookies of a request, whoever else has put some there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meter.http import Request

__all__ = ["cookie_of"]


def cookie_of(request: Request, name: str) -> str:
    """Return a cookie of ours, the last of its name; empty when there is none.

    Ours are never quoted; whatever else stands there is another application's, and is left.
    """
    wanted, found = name.encode("ascii"), b""
    for pair in b";".join(request.headers(b"cookie")).split(b";"):
        key, _, value = pair.partition(b"=")
        if key.strip() == wanted:
            found = value.strip()
    return found.decode("latin-1")
