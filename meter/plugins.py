"""Find plugins, load them one at a time, and say exactly which one is broken.

pluggy's own loader stops at the first broken entry point, skips a repeated name silently and
accepts a misspelt hook; here each of these becomes a named fault of one plugin.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import pluggy

from meter import hookspecs
from meter.errors import PluginError

if TYPE_CHECKING:
    import click

    from meter.events import Event
    from meter.sinks import Batch, Report, Sink

__all__ = ["Extension", "Plugin", "Plugins", "Types", "load_plugins"]

GROUP: Final = "meter"

T = TypeVar("T")
E = TypeVar("E", bound="Event")


@dataclass
class Plugin:
    """One entry point: where it comes from, and what went wrong with it if anything did."""

    name: str
    distribution: str
    version: str
    module: str
    error: str | None = None

    def __str__(self) -> str:
        """Name the plugin as people know it."""
        return f"{self.name} ({self.distribution} {self.version})"


@dataclass(frozen=True)
class Extension(Generic[T]):
    """A sink or collector class and the plugin that registered it."""

    type: str
    cls: builtins.type[T]
    plugin: Plugin


@dataclass(frozen=True)
class Types(Generic[T]):
    """The types that plugins registered under one section of the pipelines file.

    Attributes:
        noun: what they are called in messages.
        found: by type, each registered by exactly one plugin.
        taken: types that more than one plugin claims, with the claimants.
        broken: plugins that could not be asked; what they offer is unknown.
    """

    noun: str
    found: dict[str, Extension[T]] = field(default_factory=dict)
    taken: dict[str, list[Plugin]] = field(default_factory=dict)
    broken: list[Plugin] = field(default_factory=list)

    def names(self) -> list[str]:
        """Return the usable types, sorted."""
        return sorted(self.found)

    def resolve(self, name: str) -> Extension[T]:
        """Return the class of a type.

        Raises:
            PluginError: unknown, claimed twice, or perhaps offered by a plugin that is broken;
                the text says which, and names the nearest type.
        """
        if name in self.taken:
            claimants = " and ".join(str(plugin) for plugin in self.taken[name])
            raise PluginError(
                f"{self.noun} type {name!r} is registered by {claimants}; uninstall one of them"
            )
        if name in self.found:
            return self.found[name]
        import difflib

        close = difflib.get_close_matches(name, self.names(), n=1)
        text = f"no {self.noun} type {name!r}"
        text += f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(self.names())}"
        if self.broken:
            text += (
                " (" + "; ".join(f"plugin {p} did not load: {p.error}" for p in self.broken) + ")"
            )
        raise PluginError(text)


class Plugins:
    """The plugins of this process, and the only way that meter calls their hooks."""

    def __init__(self) -> None:
        """Start with no plugin; `load_plugins` adds the installed ones."""
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.plugins: list[Plugin] = []

    def add(self, plugin: Plugin, load: Callable[[], object]) -> None:
        """Load one plugin inside a guard; on any fault it stays out and keeps the error."""
        self.plugins.append(plugin)
        loaded: object = None
        try:
            loaded = load()
            self.manager.register(loaded, name=f"{plugin.distribution}:{plugin.name}")
            self.manager.check_pending()
        except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may raise anything while it loads
            plugin.error = _described(error)
            if loaded is not None and self.manager.is_registered(loaded):
                self.manager.unregister(loaded)

    def _owner(self, registered: object) -> Plugin:
        name = self.manager.get_name(registered)
        for plugin in self.plugins:
            if f"{plugin.distribution}:{plugin.name}" == name:
                return plugin
        return Plugin(name or "?", "?", "?", "?")

    @cached_property
    def sinks(self) -> Types[Sink]:
        """The sink types, asked of each plugin once."""
        from meter.sinks import Sink

        return self._types("sink", "meter_register_sinks", Sink)  # type: ignore[type-abstract]  # only for issubclass

    @cached_property
    def collectors(self) -> Types[Any]:
        """The collector types, asked of each plugin once."""
        return self._types("collector", "meter_register_collectors", object)

    def _types(self, noun: str, hook: str, base: type[T]) -> Types[T]:
        types: Types[T] = Types(noun, broken=[p for p in self.plugins if p.error])
        for owner, call in self._each(hook):
            try:
                for cls in call() or ():
                    self._claim(types, cls, base, owner)
            except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may raise anything
                owner.error = _described(error)
                types.broken.append(owner)
        return types

    @staticmethod
    def _claim(types: Types[T], cls: Any, base: type[T], owner: Plugin) -> None:
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise PluginError(f"{cls!r} is not a class derived from {base.__name__}")
        needed = [
            n
            for n in ("type", "Options", "guarantee")
            if n in ("type", "Options") or base is not object
        ]
        for name in needed:
            if getattr(cls, name, None) is None:
                raise PluginError(f"{cls.__name__} has no `{name}`")
        name = str(cls.type)  # type: ignore[attr-defined]  # checked two lines above
        if name in types.taken:
            types.taken[name].append(owner)
        elif name in types.found:
            types.taken[name] = [types.found.pop(name).plugin, owner]
        else:
            types.found[name] = Extension(name, cls, owner)

    def _each(self, hook: str, **kwargs: object) -> Iterable[tuple[Plugin, Callable[[], Any]]]:
        """Yield one guarded-able call per implementation, so that one cannot stop another."""
        caller = getattr(self.manager.hook, hook)
        for implementation in caller.get_hookimpls():
            arguments = [kwargs[name] for name in implementation.argnames]
            yield self._owner(implementation.plugin), partial(implementation.function, *arguments)

    def has(self, hook: str) -> bool:
        """Tell whether anyone implements a hook, so that hot paths can skip it."""
        return bool(getattr(self.manager.hook, hook).get_hookimpls())

    def add_commands(self, cli: click.Group) -> None:
        """Let each plugin add its commands; a fault is kept with the plugin."""
        for owner, call in self._each("meter_register_commands", cli=cli):
            try:
                call()
            except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may raise anything
                owner.error = _described(error)

    def deliver(self, sink: Sink, batch: Batch) -> Report:
        """Call `meter_deliver` for one sink and one batch.

        Raises:
            PluginError: the hook answered something that is not a report.
        """
        report = self.manager.hook.meter_deliver(sink=sink, batch=batch)
        if not hasattr(report, "delivered"):
            raise PluginError(
                f"sink type {sink.type!r}: deliver returned {type(report).__name__}, "
                "expected a Report"
            )
        return report  # type: ignore[no-any-return]  # pluggy is untyped here; checked above

    def enrich(self, event: E) -> E:
        """Return the event with the dimensions that plugins add; what it has stands."""
        added: dict[str, str] = {}
        for owner, call in self._each("meter_enrich_event", event=event):
            try:
                given: Mapping[str, str] = call() or {}
                added.update({str(k): str(v) for k, v in given.items() if k not in added})
            except Exception as error:  # noqa: BLE001  an observer cannot hurt the main path
                _log_fault("plugin.enrich_failed", owner, error)
        if not added.keys() - event.dimensions.keys():
            return event
        from msgspec.structs import replace

        return replace(event, dimensions={**added, **event.dimensions})

    def notify(self, hook: str, **kwargs: object) -> None:
        """Call an observer hook after the fact: isolated, logged with the plugin's name."""
        for owner, call in self._each(hook, **kwargs):
            try:
                call()
            except Exception as error:  # noqa: BLE001  an observer cannot hurt the main path
                _log_fault("plugin.observer_failed", owner, error, hook=hook)


class _Core:
    """meter's own part of the firstresult hook, last in line."""

    @hookspecs.hookimpl(trylast=True)
    def meter_deliver(self, sink: Sink, batch: Batch) -> Report:
        return sink.deliver(batch)


def load_plugins(found: Iterable[EntryPoint] | None = None) -> Plugins:
    """Load every installed plugin, one at a time, in order of distribution and name.

    Args:
        found: the entry points; by default those installed under the group `meter`.
    """
    plugins = Plugins()
    plugins.manager.register(_Core(), name="meter")
    points = entry_points(group=GROUP) if found is None else found
    for point in sorted(points, key=lambda p: (p.dist.name if p.dist else "", p.name, p.value)):
        plugin = Plugin(
            name=point.name,
            distribution=point.dist.name if point.dist else "?",
            version=point.dist.version if point.dist else "?",
            module=point.value,
        )
        plugins.add(plugin, point.load)
    return plugins


def _described(error: BaseException) -> str:
    """Name an error's type and its first line; a plugin's traceback is for the log."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _log_fault(event: str, plugin: Plugin, error: Exception, **fields: str) -> None:
    """Log a plugin's fault with its traceback; imported late, as `meter --help` logs nothing."""
    import logging

    log = logging.getLogger("meter.plugins")
    log.error(event, exc_info=error, extra={"plugin": str(plugin), **fields})
