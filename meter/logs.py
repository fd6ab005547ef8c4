"""A logger that carries fields: who speaks, on every line."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any, Final

__all__ = ["SILENT", "FieldLogger"]

SILENT: Final = logging.Logger("meter.silent", logging.CRITICAL + 1)  # noqa: LOG001  because it must have no parent
"""Outside the tree of loggers, for libraries that would write keys and tokens at debug."""


class FieldLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds its own fields to those of each call; the standard adapter replaces them (< 3.13)."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Merge the fields; those of the call win."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs
