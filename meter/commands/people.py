"""The person at the command line: who it is, and whether it can be asked."""

from __future__ import annotations

import getpass
import socket
import sys

import click

from meter.errors import ConfigurationError

__all__ = ["confirmed", "given_reason", "on_terminal", "who"]


def who() -> str:
    """Return the login name and the host of the person who acts, for the record."""
    try:
        login = getpass.getuser()
    except (OSError, KeyError, ImportError):
        login = "unknown"
    return f"{login}@{socket.gethostname() or 'unknown'}"


def on_terminal() -> bool:
    """Tell whether somebody sits there who can answer."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask before something is done that cannot be undone.

    Args:
        question: to be answered with yes or no.
        yes: the command line has answered it.

    Raises:
        ConfigurationError: there is nobody to ask.
    """
    if yes:
        return True
    if not on_terminal():
        raise ConfigurationError("nobody can be asked here; --yes does it without asking")
    return click.confirm(question)


def given_reason(reason: str | None, what: str) -> str:
    """Return the reason that an act needs.

    Raises:
        UsageError: there is none.
    """
    if reason is None or not reason.strip():
        raise click.UsageError(f"{what} needs --reason TEXT: it is kept, with who and when")
    return reason.strip()
