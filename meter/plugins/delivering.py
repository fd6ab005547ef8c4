"""One delivery through `meter_deliver`: whatever stands in the way, what the sink said counts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Any

from meter import hookspecs
from meter.errors import PluginError
from meter.plugins.guard import blame, described

if TYPE_CHECKING:
    from meter.sinks import Batch, Report, Sink

__all__ = ["Core", "delivered"]


@dataclass(slots=True)
class _Said:
    """What the sink itself came to in one delivery."""

    asked: bool = False
    report: Report | None = None
    error: BaseException | None = None


class Core:
    """meter's own part of the firstresult hook, last in line; remembers what the sink said."""

    def __init__(self) -> None:
        """Remember one delivery for each thread."""
        self._of_thread = threading.local()

    def expect(self) -> _Said:
        """Return what the next delivery of this thread will be noted in."""
        self._of_thread.said = said = _Said()
        return said

    @hookspecs.hookimpl(trylast=True)
    def meter_deliver(self, sink: Sink, batch: Batch) -> Report:
        """Deliver."""
        said: _Said = getattr(self._of_thread, "said", None) or _Said()
        said.asked, said.error, said.report = True, None, None
        try:
            said.report = sink.deliver(batch)
        except BaseException as error:
            said.error = error
            raise
        return said.report


def delivered(
    hook: Callable[..., Any],
    sink: Sink,
    batch: Batch,
    *,
    core: Core,
    blame_for: Callable[[Iterable[CodeType]], str],
) -> Report:
    """Call the hook, and return a report that is one.

    Once the sink has answered, its report stands, also when a plugin that wraps the delivery
    fails afterwards or gives back no report: delivering again would double somebody's usage.

    Args:
        hook: `meter_deliver`.
        blame_for: names the plugin that did it, by the code that ran, outermost first.

    Raises:
        PluginError: there is no report.
        BaseException: what the sink raised; or a plugin before the sink answered, which is
            then noted on the error.
    """
    from meter.sinks import Report

    said = core.expect()
    try:
        report = hook(sink=sink, batch=batch)
    except BaseException as error:
        if error is said.error:
            raise
        plugin = blame_for(_codes(error.__traceback__))
        blame(error, plugin)
        if not isinstance(said.report, Report):
            raise
        _not_heeded(sink, plugin, error)
        return said.report
    if isinstance(report, Report):
        return report
    if said.asked and said.error is None and not isinstance(said.report, Report):
        raise PluginError(
            f"sink type {sink.type!r}: deliver returned {type(said.report).__name__}, "
            "expected a Report"
        )
    plugin = blame_for(())
    fault = PluginError(f"meter_deliver returned {type(report).__name__}, expected a Report")
    blame(fault, plugin)
    if said.error is not None:
        _not_heeded(sink, plugin, fault)
        raise said.error
    if isinstance(said.report, Report):
        _not_heeded(sink, plugin, fault)
        return said.report
    raise fault


def _not_heeded(sink: Sink, plugin: str, error: BaseException) -> None:
    """Log what a plugin did after the sink had answered; most commands log nothing."""
    import logging

    extra = {"plugin": plugin, "sink": sink.context.name, "error": described(error)}
    told = None if isinstance(error, PluginError) else error
    logging.getLogger("meter.plugins").error("plugin.deliver_failed", exc_info=told, extra=extra)


def _codes(traceback: TracebackType | None) -> Iterator[CodeType]:
    while traceback is not None:
        yield traceback.tb_frame.f_code
        traceback = traceback.tb_next
