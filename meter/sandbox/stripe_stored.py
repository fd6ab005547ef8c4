"""Answers stored per `Idempotency-Key`: v1 keeps failures too, v2 only what succeeded."""

import dataclasses
from datetime import datetime, timedelta

from meter.sandbox.stripe_refusals import IDEMPOTENCY, StripeRefusal
from meter.sandbox.stripe_wire import StripeAnswer, StripeRequest

V2_SECONDS = 30 * 86_400


@dataclasses.dataclass(slots=True)
class _Stored:
    """`answer` is None while nothing is stored; `busy` until the first request is answered."""

    fingerprint: tuple[str, str, str, bytes]
    answer: StripeAnswer | None
    until: datetime
    busy: bool


class StoredAnswers:
    """The idempotency layer of one account and mode."""

    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds
        self._stored: dict[str, _Stored] = {}

    def replay(self, request: StripeRequest, now: datetime) -> StripeAnswer | None:
        """Return the stored answer, or None for a key that is new.

        Raises:
            StripeRefusal: The key came with other parameters, or its first request is not
                answered yet.
        """
        self._forget(now)
        key = _slot(request)
        stored = self._stored.get(key) if key else None
        if stored is None or stored.until <= now:
            return None
        name = request.idempotency_key
        if stored.fingerprint != _fingerprint(request):
            raise StripeRefusal(
                400,
                "Keys for idempotent requests can only be used with the same parameters they "
                f"were first used with. Try using a key other than '{name}' if you meant to "
                "execute a different request.",
                code="idempotency_error",
                error_type=IDEMPOTENCY,
            )
        if stored.busy:
            raise StripeRefusal(
                409,
                "There is currently another in-progress request using this Idempotent Key (that "
                "probably means you submitted twice, and the other request is still going "
                f"through): {name}. Please try again later.",
                code="idempotency_key_in_use",
                error_type=IDEMPOTENCY,
                headers={"stripe-should-retry": "true"},
            )
        answer = stored.answer
        if answer is not None:
            answer = answer._replace(headers={**answer.headers, "idempotent-replayed": "true"})
        return answer

    def begin(self, request: StripeRequest, now: datetime, answer: StripeAnswer | None) -> None:
        """Note a request under its key, with its answer unless that is not to be stored."""
        key = _slot(request)
        if key:
            until = now + timedelta(seconds=V2_SECONDS if request.v2 else self._seconds)
            self._stored.pop(key, None)
            self._stored[key] = _Stored(_fingerprint(request), answer, until, busy=True)

    def end(self, request: StripeRequest) -> None:
        """Let the key be used again: its first request is answered."""
        key = _slot(request)
        stored = self._stored.get(key) if key else None
        if key and stored is not None:
            stored.busy = False
            if stored.answer is None:
                del self._stored[key]

    def _forget(self, now: datetime) -> None:
        """Drop what is too old, as far as it stands first: this is only about memory."""
        while self._stored:
            oldest = next(iter(self._stored))
            if self._stored[oldest].until > now:
                return
            del self._stored[oldest]


def _slot(request: StripeRequest) -> str | None:
    """Return where an answer is stored: v1 and v2 do not share keys; GETs have none."""
    key = request.idempotency_key
    if key is None or request.method != "POST":
        return None
    return f"{'v2' if request.v2 else 'v1'} {key}"


def _fingerprint(request: StripeRequest) -> tuple[str, str, str, bytes]:
    return request.method, request.path, request.query, request.body
