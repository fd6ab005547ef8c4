"""Which meters count an event."""

from typing import Any

import pytest

from meter_stripe.options import MeterOptions
from meter_stripe.selection import counts, meters_for
from support.facts import abandoned, completed, failed, terminated


def meter(name: str = "usage", **given: Any) -> MeterOptions:
    return MeterOptions.model_validate({"event_name": name, **given})


def test_a_meter_counts_everything_that_is_billed_and_nothing_else() -> None:
    assert counts(meter(), completed(1))
    assert counts(meter(), terminated(1))
    assert not counts(meter(), failed(1))
    assert not counts(meter(), abandoned(1))


def test_kinds_narrow_it_down() -> None:
    jobs = meter(kinds="async_completed")
    assert counts(jobs, completed(1))
    assert not counts(jobs, terminated(1))


@pytest.mark.parametrize(
    ("model", "counted"), [("universal", True), ("nano", True), ("slam-1", False), (None, False)]
)
def test_models_narrow_it_down_and_usage_without_a_model_is_of_none(
    model: str | None,
    counted: bool,  # noqa: FBT001  because pytest passes it by name
) -> None:
    assert counts(meter(models=["universal", "nano"]), completed(1, model=model)) is counted


def test_every_dimension_that_is_asked_for_must_fit_and_must_be_there() -> None:
    asked = meter(dimensions={"project_id": ["a", "b"], "tier": "gold"})
    assert counts(asked, completed(1, dimensions={"project_id": "b", "tier": "gold", "x": "y"}))
    assert not counts(asked, completed(1, dimensions={"project_id": "c", "tier": "gold"}))
    assert not counts(asked, completed(1, dimensions={"project_id": "a"}))
    assert not counts(asked, completed(1))


def test_an_event_may_be_on_several_meters_or_on_none() -> None:
    meters = [meter("all"), meter("jobs", kinds="async_completed"), meter("nano", models="nano")]
    assert [m.event_name for m in meters_for(meters, completed(1))] == ["all", "jobs"]
    assert [m.event_name for m in meters_for(meters, terminated(1, model="nano"))] == [
        "all",
        "nano",
    ]
    assert meters_for(meters[2:], completed(1)) == []
