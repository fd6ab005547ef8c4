"""What the options of the sink `stripe` must be, and what does not fit what is at Stripe."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from meter_stripe.options import StripeOptions
from meter_stripe.sink import StripeSink
from support.billing import KEY, SECONDS, Billing


@pytest.fixture
def billing(tmp_path: Path) -> Iterator[Billing]:
    made = Billing(tmp_path)
    yield made
    made.journal.close()


def test_another_unit_for_a_meter_that_was_fed_parks_the_sink(tmp_path: Path) -> None:
    billing = Billing(tmp_path)
    billing.use(seconds=60)
    billing.run()
    billing.options["meters"] = [{"event_name": SECONDS, "unit": "minute"}]
    billing.restart()
    billing.use(seconds=60)
    billing.run()
    assert billing.parked is not None
    assert "units of one second" in billing.parked
    assert billing.total() == 60


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("customers", "customers.yaml", "{file: mapping.yaml}"),
        ("customers", {}, "either {file: customers.yaml} or {metadata: key}"),
        ("customers", {"metadata": "k", "refresh": "5s"}, "1m or more"),
        ("period_day", 31, "a day from 1 to 28"),
        ("base_url", "http://127.0.0.1.evil.example", "https://"),
        ("base_url", "https://user:pw@api.stripe.com", "and nothing else"),
        ("meters", [{"event_name": "x"}, {"event_name": "x"}], "stands once"),
    ],
)
def test_options_that_cannot_be_are_refused_in_words(key: str, value: object, words: str) -> None:
    given = {"api_key": KEY, "meters": [{"event_name": "x"}], "customers": "passthrough"}
    with pytest.raises(ValidationError) as caught:
        StripeOptions.model_validate({**given, key: value})
    assert words in str(caught.value)


def test_a_mapping_to_what_is_no_customer_id_of_stripes_is_pointed_out(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("acme: cus_a\nglobex: sub_123\n")
    billing = Billing(tmp_path, customers={"file": str(tmp_path / "c.yaml")})
    billing.run()
    sink = billing.worker()._sink
    assert sink is not None
    (line,) = [line for line in sink.check() if line.startswith("customers:")]
    assert "2 customers by c.yaml; warning" in line
    assert "sub_123" in line


def test_another_name_of_the_sink_finds_the_ledgers_without_asking_stripe(
    billing: Billing,
) -> None:
    billing.use(seconds=30)
    billing.run()
    context = dataclasses.replace(
        billing.worker()._sink.context,  # type: ignore[union-attr]  # because it is open
        state=billing.journal.sink_state("invoices", "stripe"),
    )
    sink = StripeSink(StripeOptions.model_validate(billing.options), context)
    (books,) = sink.books()
    assert books.ledger.tallies(["cus_a"])["cus_a"].sent == 30


@pytest.mark.parametrize("fault", ["missing", "archived", "count"])
def test_a_meter_that_cannot_count_parks_the_sink_by_name(tmp_path: Path, fault: str) -> None:
    billing = Billing(tmp_path, create_missing=False)
    if fault != "missing":
        formula = "count" if fault == "count" else "sum"
        meter = billing.books.add(
            "/v1/billing/meters",
            {
                "display_name": "x",
                "event_name": SECONDS,
                "default_aggregation": {"formula": formula},
            },
        )
        if fault == "archived":
            billing.books.add(f"/v1/billing/meters/{meter['id']}/deactivate", {})
    billing.use(seconds=42)
    billing.run()
    assert billing.parked is not None
    assert f"meter '{SECONDS}'" in billing.parked
    assert {"missing": "setup --apply", "archived": "deactivated", "count": "sum"}[
        fault
    ] in billing.parked
