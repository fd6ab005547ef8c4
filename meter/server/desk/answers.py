"""Answers to browsers: pages that may run and load nothing but our own, and are never kept."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from meter.http import Response

__all__ = ["STATIC", "html", "redirect", "static", "versioned"]

_FOLDER: Final = Path(__file__).with_name("static")
STATIC: Final = {
    "/desk/desk.css": b"text/css; charset=utf-8",
    "/desk/parts.css": b"text/css; charset=utf-8",
    "/desk/phone.css": b"text/css; charset=utf-8",
    "/desk/desk.js": b"text/javascript; charset=utf-8",
    "/desk/icon.svg": b"image/svg+xml",
}
"""The files that pages use, and what they are."""

_POLICY: Final = (
    b"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
    b" form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_SAFE: Final = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_KEPT: Final = (b"cache-control", b"public, max-age=31536000, immutable")
_NOT_KEPT: Final = (b"cache-control", b"no-store")
_HTML: Final = b"text/html; charset=utf-8"

Headers = tuple[tuple[bytes, bytes], ...]


def html(status: int, text: str, headers: Headers = ()) -> Response:
    """Return a page; what cannot be said in UTF-8 is shown as a question mark."""
    return Response(status, text.encode(errors="replace"), _HTML, (*_SAFE, _NOT_KEPT, *headers))


def redirect(to: str, headers: Headers = ()) -> Response:
    """Send a browser elsewhere, with GET; `to` is a path of ours, with its query."""
    where = (b"location", to.encode("ascii"))
    return Response(303, b"", _HTML, (*_SAFE, _NOT_KEPT, where, *headers))


def static(path: str) -> Response:
    """Return one of our files; its address changes with its contents."""
    return Response(200, _contents(path), STATIC[path], (*_SAFE, _KEPT))


@cache
def versioned(path: str) -> str:
    """Return the address of one of our files."""
    return f"{path}?v={hashlib.sha256(_contents(path)).hexdigest()[:12]}"


@cache
def _contents(path: str) -> bytes:
    return (_FOLDER / path.rpartition("/")[2]).read_bytes()
