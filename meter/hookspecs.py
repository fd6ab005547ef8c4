"""The hooks of meter: what a plugin can add, change or watch.

A plugin is any object registered under the entry-point group `meter`, most often a module:

    # pyproject.toml
    [project.entry-points.meter]
    parquet = "meter_parquet"

    # meter_parquet.py
    from meter import hookimpl

    @hookimpl
    def meter_register_sinks():
        from meter_parquet.sink import ParquetSink
        return [ParquetSink]

Import heavy things inside the hook: every `meter` command loads every plugin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pluggy

if TYPE_CHECKING:
    import click

    from meter.events import Event
    from meter.sinks import Batch, Report, Sink

__all__ = ["PROJECT", "hookimpl", "hookspec"]

PROJECT: Final = "meter"
hookspec: Final = pluggy.HookspecMarker(PROJECT)
hookimpl: Final = pluggy.HookimplMarker(PROJECT)


@hookspec
def meter_register_sinks() -> Sequence[type[Sink]]:
    """Add sink types to `sinks:`.

    When: once, before the pipelines file is read.
    Returns: classes derived from `meter.sinks.Sink`. Two plugins with one `type` are an error
    that names both, as soon as a file uses it.
    If it raises: the plugin is named by `meter plugins`; fatal only when a file uses its types.
    """
    return ()


@hookspec
def meter_register_collectors() -> Sequence[type[Any]]:
    """Add collector types to `collectors:`.

    When: once, before the pipelines file is read.
    Returns: classes derived from `meter.collectors.Collector`.
    If it raises: as for `meter_register_sinks`.
    """
    return ()


@hookspec
def meter_register_commands(cli: click.Group) -> None:
    """Add commands to the `meter` command line: `cli.add_command(mine)`.

    When: whenever a command line starts; keep it cheap.
    If it raises: the plugin is named on stderr and every other command works.
    """


@hookspec(firstresult=True)
def meter_deliver(sink: Sink, batch: Batch) -> Report | None:
    """Deliver one batch to one sink; meter's own implementation calls `sink.deliver(batch)`.

    When: for every delivery, in the sink's own thread.
    Returns: the report. Wrap it (`@hookimpl(wrapper=True)`) to measure, log or delay; return
    None from a plain implementation to leave the delivery to the next one.
    If it raises: like an error of the sink itself: retried, split, or parked by its type.
    """


@hookspec
def meter_enrich_event(event: Event) -> Mapping[str, str] | None:
    """Add dimensions to an event before it is recorded.

    When: for every event that a collector found, before the journal sees it.
    Returns: dimensions to add; a name that the event already has is left as it is. Derive
    them from the event alone: the first recording of an event stands for ever.
    If it raises: logged with the plugin's name; the event is recorded without.
    """


@hookspec
def meter_event_recorded(event: Event) -> None:
    """Watch events that are durable now for the first time (duplicates do not call it).

    When: after the commit. A crash between the commit and this call loses the call, never
    the event: bill from a sink, not from here.
    If it raises: logged with the plugin's name; nothing else happens.
    """


@hookspec
def meter_batch_delivered(sink_name: str, batch: Batch, report: Report) -> None:
    """Watch deliveries whose outcome is durable now.

    When: after the commit of the report, in the sink's own thread.
    If it raises: logged with the plugin's name; nothing else happens.
    """


@hookspec
def meter_event_dead_lettered(sink_name: str, event: Event, reason: str) -> None:
    """Watch events that a sink refused for good.

    When: after the dead letter is durable.
    If it raises: logged with the plugin's name; nothing else happens.
    """


@hookspec
def meter_sink_parked(sink_name: str, reason: str) -> None:
    """Watch sinks that stopped until a person acts.

    When: after the parking is durable.
    If it raises: logged with the plugin's name; nothing else happens.
    """
