"""A logger that carries fields: who speaks, on every line."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

__all__ = ["FieldLogger"]


class FieldLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds its own fields to those of each call; the standard adapter replaces them (< 3.13)."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Merge the fields; those of the call win."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs
