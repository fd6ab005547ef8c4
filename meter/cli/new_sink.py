"""`meter new-sink`: a package with a sink that works, to put one's own destination into."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from meter.plugins import Plugins

__all__ = ["new_sink"]

TEMPLATE: Final = Path(__file__).parent / "sink_template"
FILES: Final = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    ".gitignore": "gitignore",
    ".github/workflows/tests.yml": "tests.yml",
    "{module}/__init__.py": "plugin.py",
    "{module}/sink.py": "sink.py",
    "tests/test_conformance.py": "test_conformance.py",
}
"""Where each file of the template goes."""
NAMES: Final = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
LONGEST: Final = 40


@click.command()
@click.argument("name")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="The folder in which the package's folder is made.  [default: here]",
)
@click.pass_obj
def new_sink(found: Plugins, name: str, into: Path) -> None:
    """Make a package for a sink of type NAME, with the conformance kit as its test.

    Its tests pass as it is made; docs/plugins.md goes on from there.
    """
    stem = _checked(found, name)
    folder = into / f"meter-{stem.replace('_', '-')}"
    if folder.exists():
        raise click.UsageError(f"{folder} is there already: give another name, or --into")
    values = _values(stem)
    for place, source in FILES.items():
        text = Template((TEMPLATE / f"{source}.txt").read_text()).substitute(values)
        path = folder / place.format(**values)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    click.echo(
        f"made {folder}; next:\n\n"
        f"  cd {folder}\n"
        "  python3 -m venv .venv\n"
        "  .venv/bin/pip install -e '.[test]'\n"
        "  .venv/bin/pytest\n\n"
        f"then put your destination into {values['module']}/sink.py; docs/plugins.md says how"
    )


def _checked(found: Plugins, name: str) -> str:
    """Return the name as a sink's type.

    Raises:
        click.UsageError: it cannot be one, or is taken.
    """
    stem = name.removeprefix("meter-").removeprefix("meter_").replace("-", "_")
    if not NAMES.fullmatch(stem) or len(stem) > LONGEST or keyword.iskeyword(stem):
        raise click.UsageError(
            f"{name!r} cannot be the name of a sink: small letters, digits and single dashes, "
            f"beginning with a letter, at most {LONGEST}"
        )
    taken = {each.replace("-", "_") for each in (*found.sinks.found, *found.sinks.taken)}
    if stem in taken:
        raise click.UsageError(f"a sink of type {stem!r} is installed already; see `meter plugins`")
    return stem


def _values(stem: str) -> dict[str, str]:
    from importlib.metadata import version

    from meter.hookspecs import API_VERSION

    title = "".join(part.capitalize() for part in stem.split("_"))
    return {
        "type": stem,
        "module": f"meter_{stem}",
        "distribution": f"meter-{stem.replace('_', '-')}",
        "class_stem": title,
        "class_name": f"{title}Sink",
        "version": version("usage-meter"),
        "api_version": str(API_VERSION),
    }
