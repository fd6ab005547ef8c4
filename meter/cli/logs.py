"""Logs: an event name and fields; JSON lines for machines, one readable line for people.

Nothing leaves with the query string of an address in it, or a password: a token may stand there.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from meter.commands.tables import one_line
from meter.logs import PipelineFields

if TYPE_CHECKING:
    from meter.config import Config

__all__ = ["name_pipelines", "set_up"]

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_QUERY: Final = re.compile(r"""(?<=[^\s?])\?[^\s"'<>=]*=[^\s"'<>]*""")
_PASSWORD: Final = re.compile(r"""(?<=://)[^\s/@"'<>]+@""")


def set_up(style: str, level: str) -> None:
    """Send logs to standard error.

    Args:
        style: `json`, `text`, or `auto`: text on a terminal and JSON otherwise.
        level: the least level shown.
    """
    if style == "auto":
        style = "text" if sys.stderr.isatty() else "json"
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if style == "json" else _Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "uvicorn", "asyncio", "websockets", "stripe", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def name_pipelines(config: Config) -> None:
    """Have every line about a sink or a collector name its pipelines, from now on."""
    pipelines = config.pipelines.items()
    fields = PipelineFields(
        sinks={name: [p for p, flow in pipelines if name in flow.to] for name in config.sinks},
        collectors={
            name: [p for p, flow in pipelines if name in flow.from_] for name in config.collectors
        },
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(fields)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {key: _scrubbed(value) for key, value in vars(record).items() if key not in _OWN}


def _scrubbed(value: Any) -> Any:
    """Return a value without what may be secret in an address, however deep it stands."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): _scrubbed(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_scrubbed(inner) for inner in value]
    return _PASSWORD.sub("…@", _QUERY.sub("?…", str(value)))


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        own: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": _scrubbed(record.getMessage()),
            "logger": record.name,
        }
        # A plugin's field may have the name of one of ours, which always means the same.
        line = own | {f"{k}_" if k in own else k: v for k, v in _fields(record).items()}
        if record.exc_info:
            line["traceback"] = _scrubbed(self.formatException(record.exc_info))
        return json.dumps(line, default=str, ensure_ascii=False)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        fields = " ".join(f"{key}={_words(value)}" for key, value in _fields(record).items())
        event = one_line(_scrubbed(record.getMessage()))
        line = f"{at:%H:%M:%S} {record.levelname.lower():7} {event:22} {fields}".rstrip()
        if not record.exc_info:
            return line
        traceback = _scrubbed(self.formatException(record.exc_info)).splitlines()
        return "\n".join([line, *map(one_line, traceback)])


def _words(value: Any) -> str:
    """Write a value for a terminal: a list by its items, nothing that could move the cursor."""
    return one_line(",".join(map(str, value)) if isinstance(value, list) else value)
