"""Who is whom at Stripe: by a file, by Stripe's metadata, or by the id itself."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path, PosixPath
from typing import Any

import pytest
from pydantic import SecretStr

from meter.errors import FatalSinkError, RetryableSinkError
from meter.sandbox.stripe_sandbox import StripeSandbox
from meter_stripe.client import StripeApi, StripeRefused
from meter_stripe.customers import Customers, FromFile, Unmapped, customers_for
from meter_stripe.options import CustomersFrom, MeterOptions, StripeOptions

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
OLD_NS = 1_700_000_000_000_000_000
HOSTILE = ("a\nb", "\x1b[2J\x1b]0;owned\x07", "\u202eevil", "\u2028", "x" * 10_000, "\x00" * 10_000)


def options(customers: Any, **given: Any) -> StripeOptions:
    return StripeOptions(
        api_key=SecretStr("sk_test_sandbox"),
        meters=[MeterOptions(event_name="seconds")],
        customers=customers,
        **given,
    )


@dataclass(frozen=True)
class Customer:
    id: str
    metadata: dict[str, str]


@dataclass
class FakeApi:
    """Stripe's customers, an error after some of them, and how often it was asked."""

    known: list[Customer] = field(default_factory=list)
    error: Exception | None = None
    asked: int = 0

    def customers(self) -> Iterator[Customer]:
        self.asked += 1
        yield from self.known
        if self.error is not None:
            raise self.error


def by_file(path: Path) -> Customers:
    def no_api() -> FakeApi:
        raise AssertionError("a file needs no Stripe")

    return customers_for(options(CustomersFrom(file=path)), no_api)


def by_metadata(api: FakeApi, refresh: timedelta = timedelta(minutes=15)) -> Customers:
    return customers_for(options(CustomersFrom(metadata="meter_id", refresh=refresh)), lambda: api)


def written(path: Path, text: str | bytes, at_ns: int = OLD_NS) -> Path:
    """Write a file whose last change is long ago, so that only its look tells it apart."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    os.utime(path, ns=(at_ns, at_ns))
    return path


def reason(customers: Customers, customer_id: str) -> str:
    with pytest.raises(Unmapped) as caught:
        customers.find(customer_id)
    return str(caught.value)


class TestFile:
    def test_an_unknown_customer_is_told_what_to_do(self, tmp_path: Path) -> None:
        customers = by_file(written(tmp_path / "customers.yaml", "acme: cus_1\n"))
        assert customers.refresh(NOON)
        assert customers.find("acme") == "cus_1"
        assert list(customers.pairs()) == [("acme", "cus_1")]
        assert reason(customers, "Acme") == (
            "customer 'Acme' has no Stripe customer in customers.yaml; add a line for it, meter "
            "reads the file again by itself"
        )

    def test_a_changed_file_is_read_within_a_second(self, tmp_path: Path) -> None:
        path = written(tmp_path / "c.yaml", "a: cus_1\n")
        customers = by_file(path)
        assert customers.refresh(NOON)
        written(path, "a: cus_2\n", OLD_NS + 1)  # of the same size, a nanosecond later
        assert not customers.refresh(NOON + SECOND / 2)
        assert customers.refresh(NOON + SECOND)
        assert customers.find("a") == "cus_2"

    def test_a_file_that_keeps_its_time_and_size_is_seen_to_be_another(
        self, tmp_path: Path
    ) -> None:
        path = written(tmp_path / "c.yaml", "a: cus_1\n")
        customers = by_file(path)
        customers.refresh(NOON)
        written(tmp_path / "new", "a: cus_2\n").rename(path)
        assert customers.refresh(NOON + SECOND)
        assert customers.find("a") == "cus_2"

    def test_a_file_that_was_just_written_is_read_once_more(self, tmp_path: Path) -> None:
        path = tmp_path / "c.yaml"
        path.write_text("a: cus_1\n")
        customers = by_file(path)
        assert customers.refresh(NOON)
        assert not customers.refresh(NOON + SECOND)
        path.write_text("a: cus_2\n")
        assert customers.refresh(NOON + 2 * SECOND)

    def test_only_another_mapping_counts_as_a_change(self, tmp_path: Path) -> None:
        path = written(tmp_path / "c.yaml", "a: cus_1\nb: cus_2\n")
        customers = by_file(path)
        assert customers.refresh(NOON)
        written(path, "# sorted\nb: cus_2\na: cus_1\n")
        assert not customers.refresh(NOON + SECOND)
        assert customers.trouble is None

    def test_a_clock_that_was_set_back_does_not_stop_the_looking(self, tmp_path: Path) -> None:
        path = written(tmp_path / "c.yaml", "a: cus_1\n")
        customers = by_file(path)
        customers.refresh(NOON)
        written(path, "a: cus_22\n")
        assert customers.refresh(NOON - timedelta(days=1))

    def test_a_fault_keeps_the_last_good_mapping_and_says_so(self, tmp_path: Path) -> None:
        path = written(tmp_path / "c.yaml", "a: cus_1\n")
        customers = by_file(path)
        customers.refresh(NOON)
        at = iter([NOON + second * SECOND for second in range(1, 5)])
        written(path, "a: cus_2\nb:\n")
        assert not customers.refresh(next(at))
        assert customers.find("a") == "cus_1"
        assert customers.trouble is not None
        assert "c.yaml:2: " in customers.trouble
        path.unlink()
        assert not customers.refresh(next(at))
        assert customers.find("a") == "cus_1"
        assert str(path) in str(customers.trouble)
        written(path, "a: cus_1\n")
        assert not customers.refresh(next(at))
        assert customers.trouble is None
        written(path, "a: cus_2\n", OLD_NS + 1)
        assert customers.refresh(next(at))

    def test_without_any_good_mapping_it_is_an_error_until_the_file_is_right(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "c.yaml"
        customers = by_file(path)
        with pytest.raises(RetryableSinkError, match="was not read yet"):
            customers.find("a")
        with pytest.raises(RetryableSinkError, match="was not read yet"):
            customers.pairs()
        with pytest.raises(RetryableSinkError, match="no customers file") as caught:
            customers.refresh(NOON)
        assert str(path) in str(caught.value)
        written(path, "a:\n")
        for _ in range(2):
            with pytest.raises(RetryableSinkError, match=r"c\.yaml:1: "):
                customers.refresh(NOON)
        with pytest.raises(RetryableSinkError, match=r"c\.yaml:1: "):
            customers.find("a")
        written(path, "a: cus_1\n")
        assert customers.refresh(NOON)
        assert customers.find("a") == "cus_1"
        assert customers.trouble is None

    def test_a_relative_path_is_told_whole(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(RetryableSinkError, match=f"{tmp_path}/c.yaml"):
            by_file(Path("c.yaml")).refresh(NOON)

    def test_a_file_that_is_written_to_while_it_is_read_is_read_again(self, tmp_path: Path) -> None:
        class Busy(PosixPath):
            """Its file grows once, just when it has been read."""

            @property
            def suffix(self) -> str:
                if self.read_text() == "a: cus_1":
                    written(Path(self), "a: cus_12\nb: cus_2\n", OLD_NS + 1)
                return ".yaml"

        customers = FromFile(Busy(written(tmp_path / "c.yaml", "a: cus_1")))
        with pytest.raises(RetryableSinkError, match="written to"):
            customers.refresh(NOON)
        assert customers.refresh(NOON)
        assert dict(customers.pairs()) == {"a": "cus_12", "b": "cus_2"}

    def test_what_is_no_file_is_never_waited_for(self, tmp_path: Path) -> None:
        pipe = tmp_path / "c.yaml"
        os.mkfifo(pipe)
        for path in (pipe, tmp_path):
            with pytest.raises(RetryableSinkError, match="no file"):
                by_file(path).refresh(NOON)


class TestMetadata:
    def test_an_unknown_customer_is_told_what_to_do(self) -> None:
        customers = by_metadata(FakeApi())
        customers.refresh(NOON)
        assert reason(customers, "acme") == (
            "no Stripe customer has customer 'acme' as its metadata 'meter_id'; add it at Stripe, "
            "meter looks again by itself"
        )

    def test_who_stands_on_two_stripe_customers_is_not_guessed(self) -> None:
        api = FakeApi(
            [Customer("cus_b", {"meter_id": "acme"}), Customer("cus_a", {"meter_id": "acme"})]
        )
        customers = by_metadata(api)
        customers.refresh(NOON)
        words = reason(customers, "acme")
        assert "cus_a, cus_b;" in words
        assert list(customers.pairs()) == []
        api.known.reverse()
        customers.refresh(NOON + MINUTE)
        assert reason(customers, "acme") == words
        api.known += [Customer(f"cus_{n}", {"meter_id": "acme"}) for n in range(100)]
        customers.refresh(NOON + 2 * MINUTE)
        assert "and 100 more" in reason(customers, "acme")
        api.known = api.known[:1]
        assert customers.refresh(NOON + 3 * MINUTE)
        assert customers.find("acme") == "cus_a"

    def test_one_stripe_customer_on_two_pages_is_one(self) -> None:
        customers = by_metadata(FakeApi([Customer("cus_a", {"meter_id": "acme"})] * 2))
        customers.refresh(NOON)
        assert customers.find("acme") == "cus_a"

    def test_stripe_is_asked_at_the_interval(self) -> None:
        api = FakeApi([Customer("cus_a", {"meter_id": "acme"})])
        customers = by_metadata(api)
        assert customers.refresh(NOON)
        customers.find("acme")
        for second in (1, 60, 899):
            assert not customers.refresh(NOON + second * SECOND)
        assert api.asked == 1
        assert not customers.refresh(NOON + 15 * MINUTE)
        assert api.asked == 2

    def test_stripe_is_asked_each_minute_while_somebody_unknown_waits(self) -> None:
        api = FakeApi()
        customers = by_metadata(api)
        customers.refresh(NOON)
        for second in range(1, 181):
            reason(customers, "acme")
            customers.refresh(NOON + second * SECOND)
        assert api.asked == 4
        reason(customers, "acme")
        api.known.append(Customer("cus_a", {"meter_id": "acme"}))
        assert customers.refresh(NOON + 4 * MINUTE)
        assert customers.find("acme") == "cus_a"
        assert not customers.refresh(NOON + 6 * MINUTE)
        assert api.asked == 5

    @pytest.mark.parametrize(
        "error",
        [
            RetryableSinkError("Stripe\ncannot be reached"),
            FatalSinkError("Stripe\ncannot be reached"),
            StripeRefused("Stripe\ncannot be reached", status=400, code=None),
        ],
    )
    def test_an_error_keeps_what_was_known_and_says_so(self, error: Exception) -> None:
        api = FakeApi([Customer("cus_a", {"meter_id": "acme"})])
        customers = by_metadata(api)
        customers.refresh(NOON)
        api.known, api.error = [Customer("cus_b", {"meter_id": "acme"})], error
        assert not customers.refresh(NOON + 15 * MINUTE)
        assert customers.find("acme") == "cus_a"
        assert customers.trouble == "Stripe's customers could not be read: Stripe cannot be reached"
        api.error = None
        assert not customers.refresh(NOON + 15 * MINUTE + 59 * SECOND)
        assert customers.refresh(NOON + 16 * MINUTE)
        assert customers.find("acme") == "cus_b"
        assert customers.trouble is None

    def test_stripe_is_left_alone_for_as_long_as_it_asked(self) -> None:
        api = FakeApi()
        customers = by_metadata(api)
        customers.refresh(NOON)
        api.error = RetryableSinkError("busy", retry_after=300)
        at = NOON + 15 * MINUTE
        customers.refresh(at)
        for minutes in range(1, 5):
            reason(customers, "acme")
            customers.refresh(at + minutes * MINUTE)
        assert api.asked == 2
        customers.refresh(at + 5 * MINUTE)
        assert api.asked == 3

    @pytest.mark.parametrize(
        ("error", "raised"),
        [
            (RetryableSinkError("down"), RetryableSinkError),
            (FatalSinkError("a wrong key"), FatalSinkError),
            (StripeRefused("no such page", status=400, code=None), RetryableSinkError),
        ],
    )
    def test_without_anything_known_an_error_is_raised(
        self, error: Exception, raised: type[Exception]
    ) -> None:
        api = FakeApi([Customer("cus_a", {"meter_id": "acme"})], error)
        customers = by_metadata(api)
        with pytest.raises(RetryableSinkError, match="not read yet"):
            customers.find("acme")
        with pytest.raises(raised, match=str(error)):
            customers.refresh(NOON)
        with pytest.raises(RetryableSinkError, match=str(error)):
            customers.find("acme")
        api.error = None
        assert customers.refresh(NOON)

    def test_an_end_does_not_wait_for_all_the_pages(self) -> None:
        source = options(CustomersFrom(metadata="meter_id"))
        api = FakeApi([Customer("cus_a", {"meter_id": "acme"})])
        ending: list[bool] = []
        customers = customers_for(source, lambda: api, stopping=lambda: bool(ending))
        customers.refresh(NOON)
        ending.append(True)
        api.known = [Customer("cus_b", {"meter_id": "acme"})]
        assert not customers.refresh(NOON + 15 * MINUTE)
        assert customers.find("acme") == "cus_a"

    def test_the_real_api_pages_through_a_stripe_over_http(self) -> None:
        with StripeSandbox() as double:
            for number in range(205):
                double.books.add("/v1/customers", {"metadata": {"meter_id": f"c{number}"}})
            double.books.add("/v1/customers", {"metadata": {"other": "c0"}})
            double.books.add("/v1/customers", {"name": "Anna"})
            twice = [
                double.books.add("/v1/customers", {"metadata": {"meter_id": "twice"}})["id"]
                for _ in range(2)
            ]
            source = options(CustomersFrom(metadata="meter_id"), base_url=double.base_url)
            api = StripeApi(source)
            try:
                customers = customers_for(source, lambda: api)
                assert customers.refresh(NOON)
                assert {name for name, _ in customers.pairs()} == {f"c{n}" for n in range(205)}
                assert all(each in reason(customers, "twice") for each in twice)
                assert api.reads == 3
            finally:
                api.close()


SAME_ID = customers_for(options("passthrough"), FakeApi)


class TestPassthrough:
    def test_the_id_itself_is_stripes(self) -> None:
        customers = SAME_ID
        assert not customers.refresh(NOON)
        assert customers.trouble is None
        assert customers.find("cus_1") == "cus_1"
        assert customers.find("our-own-7") == "our-own-7"
        assert customers.find("c" * 100) == "c" * 100
        assert list(customers.pairs()) == []

    @pytest.mark.parametrize(
        ("customer_id", "words"),
        [
            ("", "is empty"),
            ("c" * 101, "longer than 100"),
            ("a\x00b", "control"),
            ("a\u202eb", "cannot be seen"),
            (" cus_1", "blank"),
            ("\ud800", "cannot be seen"),
        ],
    )
    def test_what_no_stripe_id_can_be_is_held_with_the_reason(
        self, customer_id: str, words: str
    ) -> None:
        assert words in reason(SAME_ID, customer_id)


@pytest.mark.parametrize("customer_id", HOSTILE)
def test_a_reason_is_one_short_line_whoever_the_customer_is(
    customer_id: str, tmp_path: Path
) -> None:
    by_path = by_file(written(tmp_path / "c.yaml", "{}"))
    carried = [Customer(f"cus_{n}", {"meter_id": customer_id}) for n in range(2)]
    for customers in (by_path, by_metadata(FakeApi()), by_metadata(FakeApi(carried)), SAME_ID):
        customers.refresh(NOON)
        words = reason(customers, customer_id)
        assert words.isprintable()
        assert len(words) < 400
