"""Sinks for the tests of the kit: one right one of each guarantee, and broken ones."""

from __future__ import annotations

from typing import Any

from meter import hookimpl
from meter.sinks import Sink


@hookimpl
def meter_register_collectors() -> list[type[Any]]:
    from . import collecting

    return [
        collecting.RightLines,
        collecting.CursorFirst,
        collecting.IdsOfChance,
        collecting.StopsAtTheFirst,
        collecting.DropsTheMalformed,
        collecting.GivesNoReason,
        collecting.NeverMalformed,
        collecting.TellsItsKey,
    ]


@hookimpl
def meter_register_sinks() -> list[type[Sink]]:
    from . import appending, charging, tables

    modules = (tables, appending, charging)
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Sink)
        and value.__module__ == module.__name__
    ]
