"""What a browser sends with an address or a form: texts by name, few and short."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from meter.http import BodyTooLarge

if TYPE_CHECKING:
    from meter.http import Request

__all__ = ["Given", "Unreadable", "form_of", "query_of"]

MOST_BYTES: Final = 65_536
MOST_FIELDS: Final = 20

Given = Mapping[str, str]
"""The texts, by name; of those that came twice the last."""


class Unreadable(Exception):
    """What came is no form of ours."""


def query_of(request: Request) -> Given:
    """Read the query of an address.

    Raises:
        Unreadable: it has too many fields.
    """
    return _parsed(request.query.decode("latin-1"))


async def form_of(request: Request) -> Given:
    """Read a form.

    Raises:
        Unreadable: it is none, or too large.
    """
    content_type = (request.header(b"content-type") or b"").partition(b";")[0].strip().lower()
    if content_type != b"application/x-www-form-urlencoded":
        raise Unreadable
    try:
        body = await request.body()
    except BodyTooLarge:
        raise Unreadable from None
    if len(body) > MOST_BYTES:
        raise Unreadable
    return _parsed(body.decode("latin-1"))


def _parsed(text: str) -> Given:
    try:
        return dict(
            parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=MOST_FIELDS)
        )
    except ValueError:
        raise Unreadable from None
