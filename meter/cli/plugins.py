"""`meter plugins`: what is installed, what it offers, and what failed to load and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from meter.commands.arguments import as_json
from meter.commands.tables import table

if TYPE_CHECKING:
    from meter.plugins import Plugins

__all__ = ["plugins"]


@click.command()
@as_json
@click.pass_obj
def plugins(found: Plugins, *, as_json: bool) -> None:
    """List the sink and collector types of every plugin, with each sink's guarantee.

    Exit 3 when a plugin failed to load, or two of them claim one type.
    """
    rows = [
        {
            "section": section,
            "type": extension.type,
            "plugin": extension.plugin.name,
            "distribution": extension.plugin.distribution,
            "version": extension.plugin.version,
            "guarantee": extension.cls.guarantee.value if section == "sink" else None,
        }
        for section, types in (("collector", found.collectors), ("sink", found.sinks))
        for extension in types.found.values()
    ]
    faults = [
        {"plugin": p.name, "distribution": p.distribution, "version": p.version, "error": p.error}
        for p in found.plugins
        if p.error
    ]
    for types in (found.collectors, found.sinks):
        for name, claimants in types.taken.items():
            error = f"{types.noun} type {name!r} is registered by more than one plugin"
            faults += [
                {
                    "plugin": p.name,
                    "distribution": p.distribution,
                    "version": p.version,
                    "error": error,
                }
                for p in claimants
            ]
    if as_json:
        click.echo(json.dumps({"types": rows, "faults": faults}, indent=2))
    else:
        header = ("section", "type", "plugin", "distribution", "version", "guarantee")
        click.echo(table(header, [[row[name] for name in header] for row in rows]))
        if faults:
            click.echo()
            names = ("plugin", "distribution", "version", "error")
            click.echo(table(names, [[fault[name] for name in names] for fault in faults]))
    if faults:
        raise SystemExit(3)
