"""`rates:` is read exactly, and what is wrong in it is named with its place."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from meter.config import Config, ConfigFaults

Load = Callable[..., Config]

SMALL = """\
collectors: {live: {type: streaming}}
sinks: {rows: {type: ledger, path: usage.db}}
pipelines: {usage: {from: live, to: rows}}
"""


def test_rates_are_exact_as_text_and_as_numbers(load: Load) -> None:
    config = load(
        SMALL
        + """\
rates:
  currency: EUR
  cost:
    async_completed:
      models: {universal-2: 0.1, "007": "0.3700000001", NO: 0}
      features: {speaker_labels: .02}
      no_model: ${RATE:-0.15}
""".replace("0.3700000001", "0.370000001")
    )
    assert config.rates is not None
    assert (config.rates.currency, config.rates.decimals, config.rates.price) == ("EUR", 2, None)
    jobs = config.rates.cost.async_completed
    assert dict(jobs.models) == {
        "universal-2": Decimal("0.1"),
        "007": Decimal("0.370000001"),
        "NO": Decimal(0),
    }
    assert jobs.no_model == Decimal("0.15")
    assert dict(jobs.features) == {"speaker_labels": Decimal("0.02")}
    assert dict(config.rates.cost.stream_terminated.models) == {}


def test_without_rates_there_are_none(load: Load) -> None:
    assert load(SMALL).rates is None
    assert load(SMALL + "rates:\n").rates is None


def test_everything_wrong_with_rates_is_said_at_once_with_its_place(load: Load) -> None:
    with pytest.raises(ConfigFaults) as caught:
        load(
            SMALL
            + """\
rates:
  currency: usd
  decimals: 12
  costs: {}
  price:
    async_complete: {}
    async_completed:
      models: {a: -1, b: NaN, c: cheap, d: [1], e: 0.1234567891}
    stream_terminated:
      features: {x: 1}
"""
        )
    places = [line.partition("pipelines.yaml:")[2] for line in str(caught.value).splitlines()]
    assert [place.split(": expected")[0].split(";")[0] for place in places] == [
        "5:13: rates.currency",
        "6:13: rates.decimals",
        "7:3: rates.costs: unknown key",
        "9:5: rates.price.async_complete: unknown key",
        "11:19: rates.price.async_completed.models.a",
        "11:26: rates.price.async_completed.models.b",
        "11:34: rates.price.async_completed.models.c",
        "11:44: rates.price.async_completed.models.d",
        "11:52: rates.price.async_completed.models.e",
        "13:7: rates.price.stream_terminated.features: unknown key",
    ]
    assert "did you mean 'cost'?" in places[2]


@pytest.mark.parametrize("text", ["rates: 0.15\n", "rates: [1]\n"])
def test_rates_that_are_no_mapping_are_refused(load: Load, text: str) -> None:
    with pytest.raises(ConfigFaults, match=r"4:8: rates: expected a mapping"):
        load(SMALL + text)
