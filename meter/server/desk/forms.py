"""What a browser sends with an address or a form: texts by name, few and short."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from meter.http import BodyTooLarge

if TYPE_CHECKING:
    from meter.http import Request

__all__ = ["MOST_SIGN_IN", "Given", "Unreadable", "form_of", "query_of"]

MOST_BYTES: Final = 65_536
MOST_SIGN_IN: Final = 8192
"""How long the form may be that people sign in with, who can be anybody."""
MOST_FIELDS: Final = 20
BODY_SECONDS: Final = 5.0
"""How long a form may take to arrive once its head is there."""
_MOST_DIGITS: Final = 18

Given = Mapping[str, str]
"""The texts, by name; of those that came twice the last."""


class Unreadable(Exception):
    """What came is no form of ours.

    Attributes:
        status: what to answer.
        words: why, in a sentence for whoever sent it.
    """

    def __init__(self, words: str, status: int = 400) -> None:
        """Say why."""
        super().__init__(words)
        self.words = words
        self.status = status


def query_of(request: Request) -> Given:
    """Read the query of an address.

    Raises:
        Unreadable: it has too many fields.
    """
    try:
        return _parsed(request.query.decode("latin-1"), errors="replace")
    except ValueError:
        raise Unreadable("That address cannot be read.") from None


async def form_of(request: Request, most: int = MOST_BYTES, seconds: float = BODY_SECONDS) -> Given:
    """Read a form; nothing of it is read that is longer than it may be.

    Args:
        request: what came.
        most: how long it may be, bytes.
        seconds: how long it may take to arrive.

    Raises:
        Unreadable: it is none, too large, too slow, or no UTF-8.
    """
    content_type = (request.header(b"content-type") or b"").partition(b";")[0].strip().lower()
    if content_type != b"application/x-www-form-urlencoded":
        raise Unreadable("That form cannot be read.")
    _check_length(request, most)
    try:
        async with asyncio.timeout(seconds):
            body = await request.body()
    except TimeoutError:
        raise Unreadable("That form took too long to arrive. Try again.", 408) from None
    except BodyTooLarge:
        raise _too_long(most) from None
    if len(body) > most:
        raise _too_long(most)
    try:
        return _parsed(body.decode(), errors="strict")
    except UnicodeDecodeError:
        words = "That form is not in UTF-8, so its texts cannot be told exactly. Nothing was done."
        raise Unreadable(words) from None
    except ValueError:
        raise Unreadable("That form has too many fields.") from None


def _check_length(request: Request, most: int) -> None:
    """Refuse a body that does not say how long it is, or says that it is too long."""
    said = request.header(b"content-length")
    if said is None or request.header(b"transfer-encoding") is not None:
        raise Unreadable("That form does not say how long it is.", 411)
    if not said.isdigit():
        raise Unreadable("That form cannot be read.")
    if len(said) > _MOST_DIGITS or int(said) > most:
        raise _too_long(most)


def _too_long(most: int) -> Unreadable:
    return Unreadable(f"That form is too long: it may have {most:,} bytes.", 413)


def _parsed(text: str, *, errors: str) -> Given:
    return dict(parse_qsl(text, keep_blank_values=True, errors=errors, max_num_fields=MOST_FIELDS))
