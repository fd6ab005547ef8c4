"""A logger that carries fields: who speaks, on every line; and which pipelines it concerns."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Final

__all__ = ["SILENT", "FieldLogger", "PipelineFields"]

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


class PipelineFields(logging.Filter):
    """Adds the pipelines to a line about a sink, or else about a collector.

    It stands before the handler, so lines of plugins carry them too, and a line that is not
    written costs nothing.
    """

    def __init__(
        self, sinks: Mapping[str, Sequence[str]], collectors: Mapping[str, Sequence[str]]
    ) -> None:
        """Know, by name, which pipelines feed each sink, and which each collector feeds."""
        super().__init__()
        self._sinks = sinks
        self._collectors = collectors

    def filter(self, record: logging.LogRecord) -> bool:
        """Add `pipelines` where the line names a sink or a collector of the file."""
        for field, known in (("sink", self._sinks), ("collector", self._collectors)):
            name = getattr(record, field, None)
            if isinstance(name, str):
                record.pipelines = list(known.get(name, ()))
                break
        return True
