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

Import heavy things inside the hook: every `meter` command loads every plugin. Print nothing:
what a plugin prints while it is loaded goes to standard error.

# The version of the plugin API

The hooks here and the interface of `meter.sinks` and `meter.collectors` have one version
together, a whole number: `API_VERSION`. A plugin says for which it was written, in the object
that its entry point leads to:

    meter_api_version = 1

Write the number, never `meter.hookspecs.API_VERSION`: that would always be the newest. A plugin
that says nothing counts as written for version 1.

- **May come in any release**: new hooks, new arguments of hooks (a plugin takes those that it
  names), new optional methods and class attributes with a default, new fields of records that
  meter hands out, new fields with a default of records that a plugin makes, more lenient types.
- **Only with a new API version**: renaming or removing any of these, a stricter type, another
  meaning, another time or thread of a call. At least one release before that warns everybody
  who uses what will go: `meter plugins` and the log of `meter run` name the plugin, its
  distribution and version.
- A plugin that says a version **older** than what meter supports fully works, with such a
  warning; one older than `OLDEST_SUPPORTED` does not load. One that says a **newer** version than
  meter knows loads, with a warning to update meter.
- To use a hook that only newer releases have, and still load in older ones, mark it
  `@hookimpl(optionalhook=True)`.

# A plugin that misbehaves

It is named, with its distribution and version, and everything else goes on. What raises is told
under "If it raises" of each hook, an exit (`SystemExit`) included. What hangs:

- on loading, registering types or commands: it is given up after `METER_PLUGIN_SECONDS`
  (20 seconds), and is broken;
- in a sink's thread (`__init__`, `open`, `deliver`, `tend`, `close`, or a plugin that wraps
  `meter_deliver`): this sink waits; after the same time `meter status` and the log say since
  when, and where. `meter run` still ends on SIGTERM, and `--once` goes on without the sink after
  15 times as long. What was in hand is delivered again by the next run;
- in `meter_enrich_event`: the event is recorded without after a second;
- in an observer: its other calls wait in its own thread, and are lost beyond 20,000 events.

Nothing can be done about a call into C that keeps the interpreter's lock, or `os._exit`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pluggy

if TYPE_CHECKING:
    import click

    from meter.events import Event
    from meter.sinks import Batch, Report, Sink

__all__ = [
    "API_VERSION",
    "FULLY_SUPPORTED",
    "OLDEST_SUPPORTED",
    "PROJECT",
    "hookimpl",
    "hookspec",
]

API_VERSION: Final = 1
"""The version of the plugin API that this meter has."""
FULLY_SUPPORTED: Final = 1
"""A plugin written for an older version works, with a warning."""
OLDEST_SUPPORTED: Final = 1
"""A plugin written for an older version does not load."""
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
    If it raises, or a name is taken: the plugin is named on stderr and every other command
    works. A plugin that raises adds no command.
    """


@hookspec(firstresult=True)
def meter_deliver(sink: Sink, batch: Batch) -> Report | None:
    """Deliver one batch to one sink; meter's own implementation calls `sink.deliver(batch)`.

    When: for every delivery, in the sink's own thread.
    Returns: the report. Wrap it (`@hookimpl(wrapper=True)`) to measure, log or delay; return
    None from a plain implementation to leave the delivery to the next one.
    If it raises: before the sink has answered, like an error of the sink itself: retried, split,
    or parked by its type, and nothing reaches the sink; the plugin is named. After that, or if it
    returns no report: logged with the plugin's name, and what the sink said stands.
    """


@hookspec
def meter_enrich_event(event: Event) -> Mapping[str, str] | None:
    """Add dimensions to an event before it is recorded.

    When: for every event that a collector found, before the journal sees it, in a thread of the
    plugin's own. The event waits for it, a second at the most.
    Returns: dimensions to add, text to text; a name that the event already has is left as it is.
    Derive them from the event alone: the first recording of an event stands for ever.
    If it raises, hangs, or returns something else: logged with the plugin's name; the event is
    recorded without.
    """


@hookspec
def meter_event_recorded(event: Event) -> None:
    """Watch events that are durable now for the first time (duplicates do not call it).

    When: after the commit, in a thread of the plugin's own. A crash between the commit and this
    call loses the call, never the event: bill from a sink, not from here.
    If it raises: logged with the plugin's name; nothing else happens.
    """


@hookspec
def meter_batch_delivered(sink_name: str, batch: Batch, report: Report) -> None:
    """Watch deliveries whose outcome is durable now.

    When: after the commit of the report, in a thread of the plugin's own.
    If it raises: logged with the plugin's name; nothing else happens.
    """


@hookspec
def meter_event_dead_lettered(sink_name: str, event: Event, reason: str) -> None:
    """Watch events that a sink refused for good.

    When: after the dead letter is durable, in a thread of the plugin's own.
    If it raises: logged with the plugin's name; nothing else happens.
    """


@hookspec
def meter_sink_parked(sink_name: str, reason: str) -> None:
    """Watch sinks that stopped until a person acts.

    When: after the parking is durable, in a thread of the plugin's own.
    If it raises: logged with the plugin's name; nothing else happens.
    """
