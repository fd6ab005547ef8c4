"""The options of `type: parquet`."""

from __future__ import annotations

from datetime import timedelta
from importlib.util import find_spec
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from meter.sinks import Duration, FilePath, Options

__all__ = ["MISSING", "ParquetOptions"]

MISSING: Final = "needs pyarrow, which is not installed: pip install 'pyarrow>=21'"
"""Names no package of meter's: the path may well be `usage`, and errors hide what was given."""


class ParquetOptions(Options):
    """Options of `type: parquet`."""

    path: Annotated[
        FilePath,
        Field(
            description="The folder; made if it does not exist. It belongs to this sink alone, and "
            "gets a folder `month=2026-11` a month, in UTC."
        ),
    ]
    every: Annotated[
        Duration,
        Field(
            ge=timedelta(0),
            le=timedelta(days=1),
            description="How often a file is written, on the round times of UTC; what is used "
            "meanwhile waits in the journal. 10,000 events at once do not wait, nor does anything "
            "in `meter run --once`. `0s` writes files of whatever there is, at once.",
        ),
    ] = timedelta(minutes=15)

    @model_validator(mode="after")
    def _installed(self) -> Self:
        """Say what to install where a person looks first; nothing is imported by that."""
        if find_spec("pyarrow") is None:
            raise ValueError(MISSING)
        return self
