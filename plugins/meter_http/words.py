"""A destination's own words, fit for one line of a terminal and without anything secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

__all__ = ["Words"]

MOST: Final = 300
"""Characters of a destination's answer in a message."""
_PARTS: Final = re.compile(r"[\s&=,;:]+")
_SCHEMES: Final = frozenset({"Bearer", "Basic", "Token", "Digest", "token", "key", "api_key"})
"""Words that stand beside secrets and are none."""
_SHORTEST: Final = 4
"""Shorter texts are no secrets, and occur in every sentence."""


class Words:
    """Quotes what a destination said; it may echo the very headers that it was sent."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Know what must never be shown: whole values, and the words that they are made of."""
        known: set[str] = set()
        for secret in secrets:
            for form in {secret, *_PARTS.split(secret)} - _SCHEMES:
                known |= {form, json.dumps(form)[1:-1], repr(form)[1:-1]}
        self._secrets = sorted((k for k in known if len(k) >= _SHORTEST), key=len, reverse=True)

    def of(self, text: str) -> str:
        """Return a text on one line, cut to a length, with secrets masked."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= MOST else f"{line[:MOST]}…"
