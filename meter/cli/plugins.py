"""`meter plugins`: what is installed, what it offers, and what failed to load and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from meter.commands.arguments import as_json
from meter.commands.tables import one_line, table

if TYPE_CHECKING:
    from meter.plugins import Extension, Plugin, Plugins

__all__ = ["plugins"]

_OF_TYPES: Final = ("section", "type", "plugin", "distribution", "version", "api", "guarantee")
_OF_OTHERS: Final = ("plugin", "distribution", "version", "api", "hooks")
_OF_FAULTS: Final = ("plugin", "distribution", "version", "error")
_OF_WARNINGS: Final = ("plugin", "distribution", "version", "warning")


@click.command()
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Also say how each sink keeps its guarantee, and what it is exempt from.",
)
@as_json
@click.pass_obj
def plugins(found: Plugins, *, verbose: bool, as_json: bool) -> None:
    """List the sink and collector types of every plugin, with each sink's guarantee.

    Exit 3 when a plugin failed to load, or two of them claim one type.
    """
    types = [
        _row(section, extension)
        for section, known in (("collector", found.collectors), ("sink", found.sinks))
        for extension in known.found.values()
    ]
    faults = list(_faults(found))
    warnings = [
        {**_plugin(plugin), "warning": text} for plugin in found.plugins for text in plugin.warnings
    ]
    if as_json:
        document = {
            "types": types,
            "plugins": [{**_plugin(plugin), "hooks": plugin.hooks} for plugin in found.plugins],
            "faults": faults,
            "warnings": warnings,
        }
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(_table(_OF_TYPES, types))
        if verbose:
            _print_notes(types)
        typed = {(row["plugin"], row["distribution"]) for row in types}
        others = [
            {**_plugin(plugin), "hooks": ", ".join(plugin.hooks) or "none"}
            for plugin in found.plugins
            if not plugin.error and (plugin.name, plugin.distribution) not in typed
        ]
        for header, rows in (
            (_OF_OTHERS, others),
            (_OF_WARNINGS, warnings),
            (_OF_FAULTS, faults),
        ):
            if rows:
                click.echo(f"\n{_table(header, rows)}")
    for text in found.warnings:
        click.echo(f"warning: {text}", err=True)
    if faults:
        raise SystemExit(3)


def _plugin(plugin: Plugin) -> dict[str, Any]:
    return {
        "plugin": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "api": plugin.api_version,
    }


def _row(section: str, extension: Extension[Any]) -> dict[str, Any]:
    cls = extension.cls
    guarantee = getattr(cls, "guarantee", None)
    return {
        "section": section,
        "type": extension.type,
        **_plugin(extension.plugin),
        "guarantee": None if guarantee is None else guarantee.value,
        "guarantee_note": getattr(cls, "guarantee_note", ""),
        "exemptions": dict(getattr(cls, "exemptions", {})),
    }


def _faults(found: Plugins) -> Iterator[dict[str, Any]]:
    for plugin in found.plugins:
        if plugin.error:
            yield {**_plugin(plugin), "error": plugin.error}
    for types in (found.collectors, found.sinks):
        for name, claimants in types.taken.items():
            error = f"{types.noun} type {name!r} is registered by more than one plugin"
            for plugin in claimants:
                yield {**_plugin(plugin), "error": error}


def _print_notes(rows: list[dict[str, Any]]) -> None:
    """Print what stands behind each sink's guarantee, and what a type is exempt from."""
    for row in rows:
        if row["section"] == "collector" and not row["exemptions"]:
            continue
        click.echo(f"\n{row['type']}: {row['guarantee'] or row['section']}")
        if row["guarantee_note"]:
            click.echo(f"  {one_line(row['guarantee_note'])}")
        for case, why in row["exemptions"].items():
            click.echo(f"  exempt from {one_line(case)}: {one_line(why)}")


def _table(header: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    return table(header, [[row[name] for name in header] for row in rows])
