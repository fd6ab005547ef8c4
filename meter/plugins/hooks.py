"""The plugins of this process, and the only way that meter calls their hooks."""

from __future__ import annotations

import atexit
import inspect
import os
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from importlib.metadata import EntryPoint, entry_points
from types import CodeType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pluggy

from meter import hookspecs
from meter.errors import PluginError
from meter.plugins.api_version import Support, declared
from meter.plugins.commands import add_each
from meter.plugins.delivering import Core, delivered
from meter.plugins.guard import described, guarded
from meter.plugins.records import Plugin, Types

if TYPE_CHECKING:
    import click

    from meter.events import Event
    from meter.plugins.aside import Aside
    from meter.sinks import Batch, Report, Sink

__all__ = ["PATIENCE_SECONDS", "Plugins", "load_plugins"]

GROUP: Final = "meter"
PATIENCE: Final = "METER_PLUGIN_SECONDS"
MOST_SECONDS: Final = 86_400.0
PATIENCE_SECONDS: Final = 20.0
"""How long meter waits for a plugin before it says so, or goes on without it."""
ENRICH_SECONDS: Final = 1.0
"""How long an event waits for the dimensions that one plugin adds."""
OBSERVER_SECONDS: Final = 0.1
"""How long meter waits for an observer; one that takes longer is left behind, and catches up."""
OBSERVER_ROOM: Final = 20_000
"""How many events may wait for an observer; calls beyond that are lost, and counted."""
LAST_SECONDS: Final = 2.0
"""How long the end of a process waits for observers that are behind."""

E = TypeVar("E", bound="Event")


class Plugins:
    """The plugins of this process, and the only way that meter calls their hooks.

    Attributes:
        manager: pluggy's.
        plugins: every plugin, also those that are broken.
        patience: how long meter waits for a plugin before it says so, in seconds.
        warnings: what is odd about how the plugins were loaded, beside those of each plugin.
    """

    def __init__(
        self, *, patience: float = PATIENCE_SECONDS, support: Support | None = None
    ) -> None:
        """Start with no plugin; `load_plugins` adds the installed ones.

        Args:
            patience: in seconds.
            support: the versions of the plugin API that work; by default this meter's.
        """
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.plugins: list[Plugin] = []
        self.patience = patience
        self.warnings: list[str] = []
        self._support = support or Support()
        self._core = Core()
        self.manager.register(self._core, name="meter")
        self._observers: dict[str, Aside] = {}
        self._enrichers: dict[str, Aside] = {}

    # -- loading -----------------------------------------------------------------------------

    def add(self, plugin: Plugin, load: Callable[[], object]) -> None:
        """Load one plugin inside a guard; on any fault it stays out and keeps the error."""
        self.plugins.append(plugin)
        try:
            guarded(lambda: self._register(plugin, load()), seconds=self.patience)
        except PluginError as error:
            plugin.error = described(error.__cause__ or error)
            self._unregister(plugin)

    def _register(self, plugin: Plugin, loaded: object) -> None:
        if loaded is None:
            raise PluginError(f"{plugin.module} is None; expected a module or an object with hooks")
        plugin.api_version = declared(loaded)
        if warning := self._support.judge(plugin):
            plugin.warnings.append(warning)
        # What pluggy warns of is a hook that is going away (`warn_on_impl`): it names no plugin.
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.manager.register(loaded, name=_key(plugin))
        plugin.warnings += [str(warning.message) for warning in caught]
        try:
            self.manager.check_pending()
        except pluggy.PluginValidationError as error:
            if plugin.api_version <= self._support.newest:
                raise
            raise PluginError(f"{described(error)} ({plugin.warnings[0]})") from None
        for name, implementation in self._implementations(loaded):
            plugin.hooks.append(name)
            wraps = implementation.wrapper or implementation.hookwrapper
            if wraps and name != "meter_deliver":
                raise PluginError(f"it wraps {name}; only meter_deliver can be wrapped")
            if inspect.iscoroutinefunction(implementation.function):
                raise PluginError(f"its {name} is `async`; hooks are plain functions")
        plugin.hooks.sort()
        if not plugin.hooks:
            plugin.warnings.append(
                f"{plugin.module} has no hook: is the decorator `meter.hookimpl` missing?"
            )

    def _implementations(self, loaded: object) -> Iterator[tuple[str, Any]]:
        for caller in self.manager.get_hookcallers(loaded) or ():
            for implementation in caller.get_hookimpls():
                if implementation.plugin is loaded:
                    yield caller.name, implementation

    def _unregister(self, plugin: Plugin) -> None:
        """Take out what a plugin registered; another plugin may be the same object."""
        if self.manager.get_plugin(_key(plugin)) is not None:
            self.manager.unregister(name=_key(plugin))

    def _owner(self, key: str) -> Plugin:
        for plugin in self.plugins:
            if _key(plugin) == key:
                return plugin
        return Plugin(key, "?", "?", "?")

    # -- types and commands ------------------------------------------------------------------

    @cached_property
    def sinks(self) -> Types[Sink]:
        """The sink types, asked of each plugin once."""
        from meter.plugins.claims import type_of_sink

        return self._types("sink", "meter_register_sinks", type_of_sink)

    @cached_property
    def collectors(self) -> Types[Any]:
        """The collector types, asked of each plugin once."""
        from meter.plugins.claims import type_of_collector

        return self._types("collector", "meter_register_collectors", type_of_collector)

    def _types(self, noun: str, hook: str, type_of: Callable[[Any], str]) -> Types[Any]:
        """Ask each plugin; what is wrong with one class does not cost the plugin its others."""
        types: Types[Any] = Types(noun, broken=[p for p in self.plugins if p.error])
        for owner, call in self._each(hook):
            try:
                offered = guarded(lambda call=call: list(call() or ()), seconds=self.patience)  # type: ignore[misc]  # because a lambda's default has no type
            except PluginError as error:
                self._broke(owner, error, types)
                continue
            for cls in offered:
                try:
                    name = guarded(partial(type_of, cls), seconds=self.patience)
                    types.claim(name, cls, owner)
                except PluginError as error:
                    self._broke(owner, error, types)
        return types

    @staticmethod
    def _broke(owner: Plugin, error: PluginError, types: Types[Any]) -> None:
        owner.error = owner.error or described(error)
        if owner not in types.broken:
            types.broken.append(owner)

    def add_commands(self, cli: click.Group) -> None:
        """Let each plugin add its commands; a fault is kept with the plugin.

        A plugin that fails adds none. A name that is taken stays with who had it first.
        """
        add_each(cli, list(self._each("meter_register_commands", cli=cli)), self.patience)

    # -- calling -----------------------------------------------------------------------------

    def _each(self, hook: str, **kwargs: object) -> Iterator[tuple[Plugin, Callable[[], Any]]]:
        """Yield one guarded-able call per implementation, so that one cannot stop another."""
        caller = getattr(self.manager.hook, hook)
        for implementation in caller.get_hookimpls():
            arguments = [kwargs[name] for name in implementation.argnames]
            owner = self._owner(implementation.plugin_name)
            yield owner, partial(implementation.function, *arguments)

    def has(self, hook: str) -> bool:
        """Tell whether anyone implements a hook, so that hot paths can skip it."""
        return bool(getattr(self.manager.hook, hook).get_hookimpls())

    def deliver(self, sink: Sink, batch: Batch) -> Report:
        """Call `meter_deliver` for one sink and one batch.

        Raises:
            PluginError: the hook answered something that is not a report.
            BaseException: what the sink raised, or a plugin that stands before it.
        """
        caller = self.manager.hook.meter_deliver
        return delivered(caller, sink, batch, core=self._core, blame_for=self._blame_for)

    def _blame_for(self, codes: Iterable[CodeType]) -> str:
        """Name the plugins that may have done it: the innermost that runs, or all in the way."""
        implementations = [
            i for i in self.manager.hook.meter_deliver.get_hookimpls() if i.plugin_name != "meter"
        ]
        by_code = {_code(i.function): i for i in implementations}
        running = [by_code[code] for code in codes if code in by_code]
        found = running[-1:] or implementations
        return " or ".join(str(self._owner(i.plugin_name)) for i in found)

    def wrapping(self, codes: Iterable[CodeType]) -> str | None:
        """Name the plugin of a `meter_deliver` that runs, by the code of a thread's frames.

        Args:
            codes: of the frames, outermost first.

        Returns:
            None when the sink itself runs, or nothing of a plugin's.
        """
        own = _code(self._core.meter_deliver)
        inner = list(codes)
        inner = inner[inner.index(own) :] if own in inner else inner
        known = {
            _code(i.function): i.plugin_name
            for i in self.manager.hook.meter_deliver.get_hookimpls()
            if i.plugin_name != "meter"
        }
        running = [known[code] for code in inner if code in known]
        return str(self._owner(running[-1])) if running else None

    def enrich(self, event: E) -> E:
        """Return the event with the dimensions that plugins add; what it has stands.

        A plugin that does not answer within a second is left out, and not asked again before
        it came back.
        """
        added: dict[str, str] = {}
        for owner, call in self._each("meter_enrich_event", event=event):
            aside = self._aside(self._enrichers, owner, room=1)
            answer = aside.call(call, seconds=ENRICH_SECONDS)
            try:
                if answer is None or not answer.wait(0):
                    raise PluginError("it did not come back from an event")
                given = _dimensions(answer.get())
                added.update({k: v for k, v in given.items() if k not in added})
            except BaseException as error:  # noqa: BLE001  an observer cannot hurt the main path
                _log_fault("plugin.enrich_failed", owner, error, event_id=event.event_id)
        if not added.keys() - event.dimensions.keys():
            return event
        from msgspec.structs import replace

        return replace(event, dimensions={**added, **event.dimensions})

    def notify(self, hook: str, **kwargs: object) -> None:
        """Call an observer hook after the fact: isolated, logged with the plugin's name.

        Each plugin is called in a thread of its own, in order. An observer that hangs is
        waited for once, a tenth of a second.
        """
        weight = max(1, len(getattr(kwargs.get("batch"), "events", ())))
        for owner, call in self._each(hook, **kwargs):
            aside = self._aside(self._observers, owner, room=OBSERVER_ROOM)
            watched = partial(_observed, hook, owner, call)
            if aside.call(watched, seconds=OBSERVER_SECONDS, weight=weight) is None and (
                aside.lost & (aside.lost - 1) == 0  # the first, second, fourth, eighth, …
            ):
                error = PluginError(f"it is so far behind that {aside.lost} calls were lost")
                _log_fault("plugin.observer_behind", owner, error, hook=hook)

    def _aside(self, kept: dict[str, Aside], owner: Plugin, *, room: int) -> Aside:
        from meter.plugins.aside import Aside

        if not self._observers and not self._enrichers:
            atexit.register(_last_calls, weakref.ref(self))
        return kept.setdefault(_key(owner), Aside(owner, room=room))

    def catch_up(self, seconds: float) -> list[str]:
        """Wait until the observers have seen everything; name those that did not come to it."""
        return [
            str(aside.plugin)
            for aside in list(self._observers.values())
            if not aside.drained(seconds)
        ]


def load_plugins(found: Iterable[EntryPoint] | None = None) -> Plugins:
    """Load every installed plugin, one at a time, in order of distribution and name.

    Args:
        found: the entry points; by default those installed under the group `meter`.
    """
    plugins = Plugins()
    if given := os.environ.get(PATIENCE):
        _set_patience(plugins, given)
    points = list(entry_points(group=GROUP) if found is None else found)
    # Each look at a distribution's name or version reads its metadata again.
    homes = {id(p.dist): p.dist for p in points if p.dist is not None}
    named = {key: (dist.name, dist.version) for key, dist in homes.items()}
    unknown = ("?", "?")
    placed = [(*named.get(id(p.dist), unknown), p.name, p.value, p) for p in points]
    for distribution, version, name, module, point in sorted(placed, key=lambda p: p[:4]):
        plugins.add(Plugin(name, distribution, version, module), point.load)
    return plugins


def _set_patience(plugins: Plugins, given: str) -> None:
    """Take the operator's word for how long a plugin may need; keep the default if it is none."""
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if 0 < seconds <= MOST_SECONDS:
        plugins.patience = seconds
    else:
        plugins.warnings.append(
            f"{PATIENCE} is {given!r}, expected seconds, up to {MOST_SECONDS:g}; it stays at "
            f"{plugins.patience:g}"
        )


def _key(plugin: Plugin) -> str:
    """Return what pluggy knows a plugin by; two distributions may use one name."""
    return f"{plugin.distribution}:{plugin.name}"


def _code(function: Any) -> CodeType | None:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code if isinstance(code, CodeType) else None


def _dimensions(given: object) -> Mapping[str, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise PluginError(f"it returned {type(given).__name__}, expected a mapping or None")
    copied = dict(given)
    for text in (*copied, *copied.values()):
        if not isinstance(text, str):
            raise PluginError(f"what it adds is {type(text).__name__}, expected text to text")
        text.encode()  # half of a surrogate pair is no text that could be stored
    return copied


def _observed(hook: str, owner: Plugin, call: Callable[[], object]) -> None:
    try:
        call()
    except BaseException as error:  # noqa: BLE001  an observer cannot hurt the main path
        _log_fault("plugin.observer_failed", owner, error, hook=hook)


def _last_calls(plugins: weakref.ref[Plugins]) -> None:
    """Let observers see what happened last, when the process ends by itself."""
    found = plugins()
    if found is not None:
        found.catch_up(LAST_SECONDS)


def _log_fault(event: str, plugin: Plugin, error: BaseException, **fields: str) -> None:
    """Log a plugin's fault with its traceback; imported late, as `meter --help` logs nothing."""
    import logging

    log = logging.getLogger("meter.plugins")
    told = None if isinstance(error, PluginError) else error
    extra = {"plugin": str(plugin), "error": described(error), **fields}
    log.error(event, exc_info=told, extra=extra)
