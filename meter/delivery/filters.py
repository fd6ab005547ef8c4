"""Decide which events a sink is given: one predicate a sink, from its pipelines' words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from meter.events import Event

if TYPE_CHECKING:
    from meter.config import Condition, PipelineConfig

__all__ = ["Predicate", "admits", "predicate_for"]

Predicate = Callable[[Event], bool]


def predicate_for(
    sink: str, pipelines: Iterable[PipelineConfig], not_before: datetime | None
) -> Predicate:
    """Return what tells whether a sink takes an event.

    An event passes when any pipeline that feeds the sink admits it (DESIGN §7), and, for a
    sink that started at a date, when the usage occurred on or after it.
    """
    tests = [_pipeline(pipeline) for pipeline in pipelines if sink in pipeline.to]
    if len(tests) == 1:
        (admitted,) = tests
    else:

        def admitted(event: Event) -> bool:
            return any(test(event) for test in tests)

    if not_before is None:
        return admitted
    return lambda event: event.occurred_at >= not_before and admitted(event)


def _pipeline(pipeline: PipelineConfig) -> Predicate:
    collectors, kinds = frozenset(pipeline.from_), frozenset(pipeline.kinds)
    conditions = tuple(pipeline.where.items())
    if not conditions:
        return lambda event: event.collector in collectors and event.kind in kinds
    return lambda event: (
        event.collector in collectors
        and event.kind in kinds
        and all(admits(condition, _field(event, name)) for name, condition in conditions)
    )


def admits(condition: Condition, value: str | None) -> bool:
    """Tell whether a field's value meets a condition; None means that the event lacks it."""
    if condition.exists is not None and condition.exists != (value is not None):
        return False
    if condition.one_of is not None and value not in condition.one_of:
        return False
    return value not in condition.none_of


def _field(event: Event, name: str) -> str | None:
    if name.startswith("dimensions."):
        return event.dimensions.get(name.removeprefix("dimensions."))
    value: str | None = getattr(event, name, None)
    return value
