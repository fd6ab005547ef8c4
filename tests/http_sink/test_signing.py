"""Standard Webhooks signatures, checked by a verifier that shares no code with the sink."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from http_sink.conftest import Opener, batch_of
from http_sink.double import Asked, Destination, Said
from meter.errors import RetryableSinkError
from meter_http.signing import key_of, message_id, signed_headers
from support.clocks import FakeClock
from support.facts import NOON, completed

OLD = "whsec_" + base64.b64encode(b"the old key of 24 bytes!").decode()
NEW = "whsec_" + base64.b64encode(bytes(range(64))).decode()


def expected(secret: str, asked: Asked) -> str:
    head = asked.headers
    signed = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + asked.body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def test_the_specification_s_own_example_is_signed_as_it_says() -> None:
    # The vector of the reference libraries' tests.
    secret, name = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    body, at = b'{"test": 2432232314}', 1614265330
    signature = base64.b64encode(
        hmac.digest(key_of(secret), f"{name}.{at}.".encode() + body, "sha256")
    )
    assert signature == b"g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("mode", ["batch", "structured", "binary"])
def test_each_request_is_signed_over_its_very_bytes(
    sink: Opener, destination: Destination, mode: str, clock: FakeClock
) -> None:
    sink(mode=mode, signing_secret=NEW).deliver(batch_of([completed(1), completed(2)]))
    for asked in destination.asked:
        assert asked.headers["webhook-signature"] == expected(NEW, asked)
        assert asked.headers["webhook-timestamp"] == str(int(clock.now().timestamp()))
        assert "." not in asked.headers["webhook-id"]


def test_two_secrets_give_two_signatures_while_one_replaces_the_other(
    sink: Opener, destination: Destination
) -> None:
    sink(signing_secret=[NEW, OLD]).deliver(batch_of([completed(1)]))
    (asked,) = destination.asked
    assert asked.headers["webhook-signature"].split(" ") == [
        expected(NEW, asked),
        expected(OLD, asked),
    ]


def test_a_repeat_has_the_same_id_and_the_time_of_the_new_attempt(
    sink: Opener, destination: Destination, clock: FakeClock
) -> None:
    destination.answering = lambda _a: Said(503)
    opened = sink(signing_secret=NEW)
    for _ in range(2):
        with pytest.raises(RetryableSinkError):
            opened.deliver(batch_of([completed(1), completed(2)]))
        clock.advance(minutes=5)
    first, second = (a.headers for a in destination.asked)
    assert first["webhook-id"] == second["webhook-id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 300


def test_other_events_have_another_id() -> None:
    assert message_id(["a", "b"]) != message_id(["a"])
    assert message_id(["a", "b"]) != message_id(["b", "a"])


def test_without_a_secret_nothing_is_signed(sink: Opener, destination: Destination) -> None:
    sink().deliver(batch_of([completed(1)]))
    assert not [name for name in destination.asked[0].headers if name.startswith("webhook-")]


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "whsec_!!!!", OLD.removeprefix("whsec_"), "whsec_" + "a" * 28, "whsec_é"],
)
def test_what_is_no_secret_is_refused_without_quoting_it(secret: str) -> None:
    with pytest.raises(ValueError, match="24 to 64 bytes") as raised:
        key_of(secret)
    assert str(raised.value) == "text such as whsec_… with 24 to 64 bytes in base64"


def test_headers_are_plain_ascii() -> None:
    headers = signed_headers([key_of(OLD)], ["ü"], b"{}", NOON)
    assert all(text.isascii() for text in headers.values())
