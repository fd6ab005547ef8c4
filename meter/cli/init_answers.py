"""What `meter init` is told: by flags, by a person at a terminal, or by defaults."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal, cast

import click

__all__ = [
    "COLLECTORS",
    "DEFAULTS",
    "SINKS",
    "Answers",
    "answered_by_asking",
    "chosen",
    "journal",
    "public",
    "sinks_of",
]

COLLECTORS: Final = {
    "webhook": "pre-recorded jobs: AssemblyAI tells meter when one is done",
    "streaming": "live sessions through meter's relay: clients connect to meter, with a token",
    "ingest": "live sessions that your own servers hold: they tell meter (a line beside the SDK)",
}
SINKS: Final = {
    "sqlite": "a table to query: usage.db",
    "csv": "a file a month for spreadsheets: exports/usage-2026-11.csv",
    "parquet": "files a month for analytics (needs pyarrow)",
    "stripe": "invoices: usage-based billing",
    "http": "another service: OpenMeter, Lago, Metronome, yours",
}
_URL: Final = re.compile(r"https?://[^\s/?#@\"\\]+(/[^\s?#\"\\]*)?")
Region = Literal["us", "eu"]


@dataclass(frozen=True, slots=True)
class Answers:
    """What goes into the file.

    Attributes:
        collect: which of `COLLECTORS`, in that order.
        sinks: types of sinks.
        journal: the journal's path, relative to the file.
        public_url: what the world calls the server, without a slash at its end; empty when unknown.
        region: where AssemblyAI keeps the data.
        env: whether to make a `.env` with fresh secrets.
    """

    collect: tuple[str, ...] = ("webhook",)
    sinks: tuple[str, ...] = ("sqlite",)
    journal: str = "meter.db"
    public_url: str = ""
    region: Region = "us"
    env: bool = True


DEFAULTS: Final = Answers()


def chosen(texts: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """Read names, given one by one or with commas between, in the order in which they are known.

    Raises:
        BadParameter: one is unknown, or there is none.
    """
    names = list(known)
    wanted = [name for text in texts for name in re.split(r"[,\s]+", text.strip()) if name]
    for name in wanted:
        if name not in names:
            close = get_close_matches(name, names, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise click.BadParameter(f"no {name!r} here{meant} (known: {', '.join(names)})")
    if not wanted:
        raise click.BadParameter(f"at least one of {', '.join(names)}")
    return tuple(name for name in names if name in wanted)


def sinks_of(installed: Iterable[str]) -> list[str]:
    """Return the types of sinks in the order to offer them: those that meter brings along first."""
    names = list(installed)
    return [name for name in SINKS if name in names] + [n for n in names if n not in SINKS]


def journal(text: str) -> str:
    """Return the journal's path.

    Raises:
        BadParameter: it cannot be one.
    """
    text = text.strip()
    if not text or "://" in text or not text.isprintable() or text.endswith("/"):
        raise click.BadParameter("expected a file, such as meter.db")
    return text


def public(text: str) -> str:
    """Return the public address, without a slash at its end; empty is none.

    Raises:
        BadParameter: it is no address.
    """
    text = text.strip()
    if text and not (_URL.fullmatch(text) and text.isprintable()):
        raise click.BadParameter("expected an address such as https://meter.example.com")
    return text.rstrip("/")


def answered_by_asking(given: Mapping[str, object], sinks: Iterable[str]) -> Answers:
    """Ask for what no flag says.

    Args:
        given: answers by the names of `Answers`; None where a flag was not given.
        sinks: the types of sinks that are installed, in the order to offer them.
    """
    answers = {name: value for name, value in given.items() if value is not None}
    if "collect" not in answers:
        click.echo("What do you use of AssemblyAI?")
        answers["collect"] = _several(COLLECTORS, DEFAULTS.collect)
    if "sinks" not in answers:
        click.echo("\nWhere shall the usage go?")
        offered = {name: SINKS.get(name, "of a plugin") for name in sinks}
        answers["sinks"] = _several(offered, DEFAULTS.sinks)
    click.echo()
    if "journal" not in answers:
        answers["journal"] = click.prompt(
            "The journal, a file that is to be backed up", DEFAULTS.journal, value_proc=journal
        )
    if "public_url" not in answers:
        answers["public_url"] = click.prompt(
            "The public address of this server, such as https://meter.example.com\n"
            "(leave it empty if there is none yet)",
            DEFAULTS.public_url,
            value_proc=public,
            show_default=False,
        )
    if "region" not in answers:
        regions = click.Choice(["us", "eu"])
        answers["region"] = click.prompt("AssemblyAI's region", DEFAULTS.region, type=regions)
    if "env" not in answers:
        answers["env"] = click.confirm("Make a .env with fresh secrets", default=DEFAULTS.env)
    return _answers(answers)


def _answers(values: Mapping[str, object]) -> Answers:
    return Answers(**cast("dict[str, object]", dict(values)))  # type: ignore[arg-type]  # because each was read by its own reader


def _several(offered: Mapping[str, str], default: tuple[str, ...]) -> tuple[str, ...]:
    width = max(map(len, offered))
    for name, words in offered.items():
        click.echo(f"  {name.ljust(width)}  {words}")
    names: tuple[str, ...] = click.prompt(
        "Which of them, several with commas between",
        ",".join(default),
        value_proc=lambda text: chosen([text], offered),
    )
    return names
