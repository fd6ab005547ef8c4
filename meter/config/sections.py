"""The sections of a pipelines file, read one by one; their faults go to the document."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from meter.config.conditions import read_conditions
from meter.config.faults import NodePath, did_you_mean, nearest
from meter.config.models import (
    CollectorConfig,
    PipelineConfig,
    ServerOptions,
    SinkConfig,
    Start,
)
from meter.config.rates import RatesOptions
from meter.config.validation import validated
from meter.errors import PluginError
from meter.sinks import Options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meter.config.document import Document, Value
    from meter.plugins import Extension, Types
    from meter.sinks import Home

__all__ = ["NAME", "Reader"]

NAME: Final = r"[A-Za-z][A-Za-z0-9_-]{0,63}"
"""What a collector, a sink or a pipeline can be called."""

_NAME: Final = re.compile(NAME)
_NAME_WORDS: Final = "a name is a letter, then up to 63 letters, digits, - or _"

T = TypeVar("T")


@dataclass(slots=True)
class Reader:
    """Reads the sections of one document.

    Attributes:
        document: parsed and interpolated.
        home: where relative paths start.
    """

    document: Document
    home: Home

    def server(self, value: Value) -> ServerOptions:
        """Read `server:`; with faults, the defaults."""
        path = ("server",)
        if value is not None and not isinstance(value, dict):
            self._expected(path, "a mapping, such as {port: 8787}")
            return ServerOptions()
        return (
            validated(self.document, ServerOptions, value or {}, path, self.home) or ServerOptions()
        )

    def rates(self, value: Value) -> RatesOptions | None:
        """Read `rates:`; None when there are none, or faults."""
        path = ("rates",)
        if value is None or isinstance(value, dict):
            return validated(self.document, RatesOptions, value, path, self.home) if value else None
        self._expected(path, "a mapping, such as {currency: USD, cost: …}")
        return None

    def collectors(self, value: Value, types: Types[Any]) -> dict[str, CollectorConfig]:
        """Read `collectors:`."""
        found: dict[str, CollectorConfig] = {}
        for name, entry in self._entries("collectors", value).items():
            extension, options = self._typed(("collectors", name), entry, types, ("type",))
            if extension is not None and options is not None:
                found[name] = CollectorConfig(name, extension.type, options, extension)
        return found

    def sinks(self, value: Value, types: Types[Any]) -> dict[str, SinkConfig]:
        """Read `sinks:`."""
        found: dict[str, SinkConfig] = {}
        for name, entry in self._entries("sinks", value).items():
            path = ("sinks", name)
            start = self._start((*path, "start"), entry) if isinstance(entry, dict) else None
            extension, options = self._typed(path, entry, types, ("type", "start"))
            if extension is not None and options is not None:
                found[name] = SinkConfig(name, extension.type, options, extension, start)
        return found

    def pipelines(self, value: Value, root: Mapping[str, Value]) -> dict[str, PipelineConfig]:
        """Read `pipelines:`; `root` is the whole file, for the names that they refer to."""
        found: dict[str, PipelineConfig] = {}
        for name, entry in self._entries("pipelines", value).items():
            path = ("pipelines", name)
            if not isinstance(entry, dict):
                self._expected(path, "a mapping, such as {from: [live], to: [ledger]}")
                continue
            # One name stands for a list of one.
            given: dict[str, Any] = {
                key: [inner] if key in ("from", "to", "kinds") and isinstance(inner, str) else inner
                for key, inner in entry.items()
            }
            if "where" in given:
                given["where"] = read_conditions(
                    self.document, (*path, "where"), given.pop("where")
                )
            for key, section in (("from", "collectors"), ("to", "sinks")):
                self._references((*path, key), entry.get(key), section, root)
            self._not_twice((*path, "kinds"), entry.get("kinds"))
            pipeline = validated(self.document, PipelineConfig, given, path, self.home)
            if pipeline is not None:
                found[name] = pipeline
        return found

    def _entries(self, section: str, value: Value) -> dict[str, Value]:
        path = (section,)
        if isinstance(value, dict) and value:
            for name in value:
                if not _NAME.fullmatch(name):
                    self.document.fault((*path, name), _NAME_WORDS, key=True)
            return value
        if path not in self.document.spoiled:
            state = "missing; " if path not in self.document.spots else ""
            self.document.fault(
                path, f"{state}expected at least one {section[:-1]}, under a name of its own",
                key=True,
            )  # fmt: skip
        return {}

    def _typed(
        self, path: NodePath, entry: Value, types: Types[T], own_keys: tuple[str, ...]
    ) -> tuple[Extension[T] | None, Options | None]:
        """Read an entry whose `type:` decides what else may stand in it."""
        if not isinstance(entry, dict):
            self._expected(path, "a mapping with the key `type`")
            return None, None
        extension = self._extension(path, entry, types)
        if extension is None:
            return None, None
        model: Any = getattr(extension.cls, "Options", None)
        if not (isinstance(model, type) and issubclass(model, Options)):
            self.document.fault(
                (*path, "type"),
                f"plugin {extension.plugin}: {extension.cls.__name__}.Options is not derived from "
                "meter.sinks.Options; update or uninstall the plugin",
                plugin=True,
            )
            return None, None
        given = {key: inner for key, inner in entry.items() if key not in own_keys}
        blame = f"plugin {extension.plugin}"
        options = validated(
            self.document, model, given, path, self.home, own_keys=own_keys, blame=blame
        )
        return extension, options

    def _extension(
        self, path: NodePath, entry: dict[str, Value], types: Types[T]
    ) -> Extension[T] | None:
        where = (*path, "type")
        if where in self.document.spoiled:
            return None
        if "type" not in entry:
            misspelt = next((key for key in entry if nearest(key, ["type"])), None)
            if misspelt is None:
                self.document.fault(where, f"missing; expected {_one_of(types)}", key=True)
            else:
                self.document.fault(
                    (*path, misspelt), "unknown key; did you mean 'type'?", key=True
                )
            return None
        name = entry["type"]
        if not isinstance(name, str):
            self._expected(where, _one_of(types))
            return None
        try:
            return types.resolve(name)
        except PluginError as error:
            unresolved = str(error)
        misspelt_type = name not in types.taken and nearest(name, types.names()) is not None
        blamed = name in types.taken or (bool(types.broken) and not misspelt_type)
        if self.document.from_environment(where) and not blamed:
            unresolved = f"no such {types.noun} type; expected {_one_of(types)}"
        self.document.fault(where, unresolved, plugin=blamed)
        return None

    def _start(self, path: NodePath, entry: dict[str, Value]) -> Start | None:
        value = entry.get("start")
        if "start" not in entry or path in self.document.spoiled:
            return None
        if value == "beginning":
            return "beginning"
        if value == "now":
            return "now"
        try:
            if isinstance(value, str):
                moment = datetime.fromisoformat(value)
                return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            pass  # reported below, with everything else that is not a time
        close = nearest(value, ["beginning", "now"]) if isinstance(value, str) else None
        meant = f"; did you mean {close!r}?" if close else ""
        self.document.fault(
            path,
            "expected beginning, now, or a date or time (UTC) such as 2026-01-31 or "
            f"2026-01-31T08:00:00Z{meant}",
        )
        return None

    def _references(
        self, path: NodePath, value: Value, section: str, root: Mapping[str, Value]
    ) -> None:
        """Check that what a pipeline names is there: by the names written, faulty or not."""
        noun = section[:-1]
        names = root.get(section)
        if not isinstance(names, dict) or not names:
            return  # said once, at the section
        other = root.get("sinks" if section == "collectors" else "collectors")
        self._not_twice(path, value)
        for place, name in _named(path, value):
            if name in names or place in self.document.spoiled:
                continue
            known = did_you_mean(name, names)
            if self.document.from_environment(place):
                self.document.fault(place, f"no such {noun}; known: {', '.join(sorted(names))}")
            elif isinstance(other, dict) and name in other:
                kind = "sink" if section == "collectors" else "collector"
                self.document.fault(
                    place, f"{name!r} is a {kind}, expected a {noun}; known: "
                    f"{', '.join(sorted(names))}",
                )  # fmt: skip
            else:
                self.document.fault(place, f"no {noun} {name!r}{known}")

    def _not_twice(self, path: NodePath, value: Value) -> None:
        seen: set[str] = set()
        for place, name in _named(path, value):
            if name in seen and place not in self.document.spoiled:
                shown = "" if self.document.from_environment(place) else f"{name!r} "
                self.document.fault(place, f"{shown}stands here twice".lstrip())
            seen.add(name)

    def _expected(self, path: NodePath, words: str) -> None:
        if path not in self.document.spoiled:
            self.document.fault(path, f"expected {words}")


def _named(path: NodePath, value: Value) -> list[tuple[NodePath, str]]:
    """Return the texts of a list, or a lone text, each with its path."""
    if isinstance(value, str):
        return [(path, value)]
    items = enumerate(value) if isinstance(value, list) else ()
    return [((*path, index), item) for index, item in items if isinstance(item, str)]


def _one_of(types: Types[Any]) -> str:
    return f"one of {', '.join(types.names())}" if types.names() else "a type; no plugin offers any"
