"""The conformance kit for sinks."""

from __future__ import annotations

from meter.testing.batch_cases import BatchCases
from meter.testing.declaration_cases import DeclarationCases
from meter.testing.fault_cases import FaultCases
from meter.testing.kill_cases import KillCases
from meter.testing.lifecycle_cases import LifecycleCases
from meter.testing.process_cases import ProcessCases
from meter.testing.reading_cases import ReadingCases
from meter.testing.secret_cases import SecretCases

__all__ = ["SinkConformance"]


class SinkConformance(
    DeclarationCases,
    BatchCases,
    FaultCases,
    LifecycleCases,
    ReadingCases,
    SecretCases,
    ProcessCases,
    KillCases,
):
    """Every case that a sink must pass; subclass it with `sink_config` and `read_back`.

    The cases come from the groups that this class is made of. See `meter.testing` for how to
    use it, and `SinkCases` for the class attributes that change how it runs.
    """
