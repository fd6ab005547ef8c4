"""What the documentation is generated from: the commands and the options models themselves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from meter.cli import cli
from meter.config import RatesOptions, ServerOptions
from meter.config.rates import AsyncRates
from meter.plugins import load_plugins

if TYPE_CHECKING:
    import click
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo


def all_help() -> str:
    """Return every command's help, as a terminal of 80 columns shows it."""
    load_plugins().add_commands(cli)
    return "\n".join(_help(cli, "meter"))


def _help(command: click.Command, name: str) -> Iterator[str]:
    """Yield a command's help, and that of the commands below it."""
    import click

    context = click.Context(command, info_name=name, terminal_width=80, max_content_width=80)
    yield f"## {name}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            below = command.get_command(context, inner)
            if below is not None:
                yield from _help(below, f"{name} {inner}")


def example(name: str) -> str:
    """Return a file of `docs/examples` as a block, so that what is shown is what the tests run."""
    path = Path(__file__).parent / "examples" / name
    language = {".mjs": "js", ".sh": "sh"}[path.suffix]
    return f"```{language}\n{path.read_text()}```\n"


def all_options() -> str:
    """Return a table of options for the server, and for each collector and sink type."""
    plugins = load_plugins()
    parts = [_table("`server`", ServerOptions)]
    for section, types in (("collectors", plugins.collectors), ("sinks", plugins.sinks)):
        for extension in sorted(types.found.values(), key=lambda e: e.type):
            title = f"`{section}`: `type: {extension.type}`"
            guarantee = getattr(extension.cls, "guarantee", None)
            note = f"Guarantee: {guarantee.value}. " if guarantee else ""
            words = getattr(extension.cls, "guarantee_note", "")
            note += f"{words[:1].upper()}{words[1:]}." if words else ""
            parts.append(_table(title, extension.cls.Options, note))
    parts += [
        _table("`rates`", RatesOptions, "What usage costs, for `meter usage`; optional."),
        _table(
            "`rates.cost.async_completed`, and so on",
            AsyncRates,
            "Money per hour of billed "
            "time, as text or as a number; decimals are exact. 0 is a rate. Streaming "
            "sessions have no `features`.",
        ),
    ]
    return "\n".join(parts)


def _table(title: str, model: type[BaseModel], note: str = "") -> str:
    lines = [
        f"## {title}\n",
        *([f"{note}\n"] if note else []),
        "| key | default | |",
        "|---|---|---|",
    ]
    for name, field in model.model_fields.items():
        lines.append(f"| `{name}` | {_default(field)} | {field.description or ''} |")
        for nested in _models(field.annotation):
            many = "[]" if get_origin(field.annotation) is list else ""
            lines += [
                f"| `{name}{many}.{key}` | {_default(inner)} | {inner.description or ''} |"
                for key, inner in nested.model_fields.items()
            ]
    return "\n".join(lines) + "\n"


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the options models that a field is made of: itself, its items, its alternatives."""
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True)
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        for unit, size in (("h", 3600), ("m", 60)):
            if seconds >= size and seconds % size == 0:
                return f"`{seconds / size:g}{unit}`"
        return f"`{seconds:g}s`"
    if value is None:
        return "none"
    return "" if hasattr(value, "model_fields") else f"`{value}`"
