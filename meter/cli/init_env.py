"""`.env.example`, which holds no secret, and `.env`, which does."""

from __future__ import annotations

import secrets
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from meter.cli.init_file import Variable

__all__ = ["LOADING", "env_text", "example_text", "fresh_secret"]

LOADING: Final = "set -a; . ./.env; set +a"
"""How a POSIX shell takes the variables of `.env` into its environment."""
SECRET_BYTES: Final = 32


def fresh_secret() -> str:
    """Return a secret of 43 letters, digits, - and _, which no shell takes for anything else."""
    return secrets.token_urlsafe(SECRET_BYTES)


def example_text(variables: Iterable[Variable]) -> str:
    """Return `.env.example`: each variable, explained and empty."""
    lines = [
        "# The variables of pipelines.yaml. Copy this to .env, fill it in there, and keep that",
        "# file out of git and for your own eyes:",
        "#",
        "#     cp .env.example .env && chmod 600 .env",
        "#",
        "# A value with blanks belongs in single quotes. Before `meter run`, in the same shell:",
        "#",
        f"#     {LOADING}",
        "#",
        "# A secret to make up:",
        "#",
        "#     python3 -c 'import secrets; print(secrets.token_urlsafe(32))'",
    ]
    for variable in variables:
        words = variable.words + (" To be made up." if variable.own else "")
        lines += ["", *(f"# {line}" for line in textwrap.wrap(words, 90)), f"{variable.name}="]
    return "\n".join(lines) + "\n"


def env_text(variables: Iterable[Variable]) -> str:
    """Return `.env`: fresh secrets of meter's own; what others give out is still empty."""
    lines = ["# Secrets: keep this file out of git. .env.example explains each."]
    lines += [f"{each.name}={fresh_secret() if each.own else ''}" for each in variables]
    return "\n".join(lines) + "\n"
