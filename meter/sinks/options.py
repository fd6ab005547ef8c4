"""The types that options are made of: for sinks, collectors and the pipelines file alike.

An options model refuses unknown keys and never prints a value in an error, because the
value may be a secret (DESIGN §9).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
)

__all__ = [
    "Duration",
    "FilePath",
    "Home",
    "Options",
    "Secret",
    "none_if_empty",
    "placed",
    "read_duration",
]

Secret = SecretStr
"""Text that cannot be printed by accident; `.get_secret_value()` reveals it."""


def none_if_empty(secret: Secret | None) -> Secret | None:
    """Take an empty secret for none, so that `${VARIABLE:-}` can stand there for good."""
    return secret if secret is not None and secret.get_secret_value() else None


_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def read_duration(value: Any) -> Any:
    """Read `30s`, `15m`, `1h30m` or `2d`; what is no text is returned as it is.

    Raises:
        ValueError: the text is none of these; it says what is expected.
    """
    if not isinstance(value, str):
        return value
    if not _DURATION.fullmatch(value):
        raise ValueError("a duration such as 30s, 15m, 1h30m or 2d")
    return timedelta(
        seconds=sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(value))
    )


Duration = Annotated[
    timedelta,
    BeforeValidator(read_duration),
    WithJsonSchema({"type": "string", "examples": ["30s", "15m", "1h30m"]}),
]
"""A span of time, written `30s`, `15m`, `1h30m`, `2d`."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where relative paths start; the validation context's `home`.

    Attributes:
        folder: the folder of the pipelines file.
        confined: no path may leave the folder, for `meter run --sandbox`: absolute ones and
            those that climb out are laid inside it.
    """

    folder: Path
    confined: bool = False

    def place(self, path: Path) -> Path:
        """Return where a path of the pipelines file lies."""
        if not self.confined:
            return self.folder / path.expanduser()
        return Path(self.folder, *(p for p in path.parts if p not in (path.anchor, "..", "~")))


def placed(path: Path, info: ValidationInfo) -> Path:
    """Return where a path of the pipelines file lies; for validators of a plugin's own."""
    home = (info.context or {}).get("home")
    return home.place(path) if home is not None else path.expanduser()


FilePath = Annotated[Path, AfterValidator(placed)]
"""A path; relative ones are relative to the pipelines file."""


class Options(BaseModel):
    """The base of every options model: `class Options(meter.sinks.Options): path: FilePath`.

    Each field's `description=` is what the documentation and the JSON Schema say of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
