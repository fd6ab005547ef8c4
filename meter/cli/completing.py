"""What a shell offers when somebody presses Tab: commands, options, and names of the file at hand.

A shell asks by starting `meter` with `_METER_COMPLETE` set, at every press: nothing heavy is
imported here, nothing is printed but the answers, and whatever cannot be read offers nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

from meter.commands.arguments import DEFAULT_FILE

if TYPE_CHECKING:
    from meter.plugins import Plugins

__all__ = ["ASKED_BY", "SHELLS", "register"]

ASKED_BY: Final = "_METER_COMPLETE"
"""The variable by which click's scripts ask."""
MAX_BYTES: Final = 1_048_576
_YAML: Final = (".yaml", ".yml")
_PLAIN: Final = re.compile(r"[\w.@%+-]+")
_KINDS: Final = {"token": "streaming", "backfill": "webhook", "stripe": "stripe"}
"""Commands that are about collectors or sinks of one type."""


class _Values(ShellComplete):
    """Offers what click cannot know: the names in the pipelines file, and the types of plugins."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return click's own, or the names for the option that stands before.

        Args:
            args: the words before, without `meter`.
            incomplete: the one that is being typed.
        """
        words = [word for word in args if word != "="]  # bash makes words of --sink=ledger
        named = self._named(words)
        if named is None:
            return super().get_completions(args, incomplete)
        # Where several may stand with commas between, what is there already stays.
        before, comma, last = incomplete.removeprefix("=").rpartition(",")
        taken = before.split(",")
        names = [name for name in named if name.startswith(last) and name not in taken]
        return [CompletionItem(f"{before}{comma}{name}") for name in names]

    def _named(self, words: list[str]) -> Iterable[str] | None:
        """Return what may follow the last word; None when that is click's to say."""
        command, option = (words[0], words[-1]) if words else ("", "")
        if command == "init":
            return self._for_init(option)
        if option == "--customer":
            return _customers(words)
        section = {"--sink": "sinks", "--collector": "collectors"}.get(option)
        return None if section is None else _names(words, section, _KINDS.get(command))

    def _for_init(self, option: str) -> Iterable[str] | None:
        from meter.cli.init_answers import COLLECTORS, sinks_of

        plugins: Plugins | None = self.ctx_args.get("obj")
        if option == "--sink" and plugins is not None:
            return sinks_of(plugins.sinks.names())
        return COLLECTORS if option == "--collect" else None


class _Bash(_Values, BashComplete):
    """For bash 4.4 and newer."""


class _Zsh(_Values, ZshComplete):
    """For zsh."""


class _Fish(_Values, FishComplete):
    """For fish."""


SHELLS: Final[dict[str, type[ShellComplete]]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


def register() -> None:
    """Have click answer shells with these classes instead of its own."""
    for name, cls in SHELLS.items():
        add_completion_class(cls, name)


def _names(words: list[str], section: str, kind: str | None) -> list[str]:
    """Return the names of a section of the file that the words name, or of the default one."""
    entries = _read(_file(words)).get(section)
    if not isinstance(entries, dict):
        return []
    return [
        name
        for name, entry in entries.items()
        if kind is None or (isinstance(entry, dict) and entry.get("type") == kind)
    ]


def _customers(words: list[str]) -> list[str]:
    """Return customers of late whose names a shell takes as one plain word."""
    from meter.journal.recent import recent_customers

    file = _file(words)
    journal = _read(file).get("journal", "meter.db")
    if not isinstance(journal, str) or "${" in journal:
        return []
    try:
        found = recent_customers(file.parent / Path(journal).expanduser())
    except (OSError, RuntimeError, ValueError):  # a path that cannot be one
        return []
    return [name for name in found if _PLAIN.fullmatch(name)]


def _file(words: list[str]) -> Path:
    """Return the pipelines file that the words name, or the default one."""
    named = [word for word in words if word.endswith(_YAML)]
    return Path(named[-1] if named else DEFAULT_FILE)


def _read(path: Path) -> dict[str, Any]:
    """Return a file as texts; empty if it cannot be read."""
    import yaml

    try:
        with path.open("rb") as stream:
            found = yaml.load(stream.read(MAX_BYTES), Loader=yaml.BaseLoader)  # noqa: S506  because this loader makes texts only
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}
