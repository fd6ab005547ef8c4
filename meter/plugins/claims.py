"""What a class must have before meter takes it for a sink or a collector."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

from meter.errors import PluginError

__all__ = ["type_of_collector", "type_of_sink"]

_STARTS: Final = ("beginning", "now")


def type_of_sink(cls: Any) -> str:
    """Return the type under which a sink class is registered.

    Everything that meter reads from the class before it makes an instance is looked at here, so
    that a mistake is told with the plugin's name and not in the middle of a delivery.

    Raises:
        PluginError: it is no sink, or lacks something.
    """
    from meter.sinks import Guarantee, Options, Sink

    if not (isinstance(cls, type) and issubclass(cls, Sink)):
        raise PluginError(f"{_shown(cls)} is not a class derived from Sink")
    name = _type(cls)
    _has(cls, "Options", "guarantee")
    if not isinstance(cls.guarantee, Guarantee):
        raise PluginError(f"{cls.__name__}.guarantee is not one of meter.sinks.Guarantee")
    model: Any = cls.Options
    if not (isinstance(model, type) and issubclass(model, Options)):
        raise PluginError(
            f"{cls.__name__}.Options is not derived from meter.sinks.Options; "
            "update or uninstall the plugin"
        )
    size: Any = cls.batch_size
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise PluginError(f"{cls.__name__}.batch_size is {_shown(size)}, expected 1 or more")
    if cls.default_start not in _STARTS:
        raise PluginError(
            f"{cls.__name__}.default_start is {_shown(cls.default_start)}, "
            f"expected one of {', '.join(_STARTS)}"
        )
    note: Any = cls.guarantee_note
    if not isinstance(note, str) or not _are_sentences(cls.exemptions):
        raise PluginError(
            f"{cls.__name__}.guarantee_note is not text, or its exemptions are not text to text"
        )
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise PluginError(f"{cls.__name__} does not define {missing}")
    return name


def type_of_collector(cls: Any) -> str:
    """Return the type under which a collector class is registered.

    Raises:
        PluginError: it is no class, or lacks something.
    """
    if not isinstance(cls, type):
        raise PluginError(f"{_shown(cls)} is not a class derived from Collector")
    name = _type(cls)
    _has(cls, "Options")
    if not _are_sentences(getattr(cls, "exemptions", {})):  # a collector need not derive from ours
        raise PluginError(f"{cls.__name__}.exemptions are not text to text")
    return name


def _type(cls: type[Any]) -> str:
    _has(cls, "type")
    name: Any = cls.__dict__.get("type", getattr(cls, "type", None))
    if not isinstance(name, str) or not name or not name.isprintable():
        raise PluginError(f"{cls.__name__}.type is {_shown(name)}, expected a name")
    return name


def _has(cls: type[Any], *names: str) -> None:
    for name in names:
        if getattr(cls, name, None) is None:
            raise PluginError(f"{cls.__name__} has no `{name}`")


def _are_sentences(exemptions: object) -> bool:
    return isinstance(exemptions, Mapping) and all(
        isinstance(text, str) for pair in exemptions.items() for text in pair
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"  # noqa: PLR2004  because it stands in a message of one line
