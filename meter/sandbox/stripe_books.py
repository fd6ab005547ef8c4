"""The Stripe double without any network: requests in, answers out, and the books between.

Everything that the double does happens here, at once and under one lock: no input or output, no
thread, no waiting. `stripe_app` puts HTTP before it, `stripe_inprocess` the SDK.
"""

import dataclasses
import hashlib
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from meter.sandbox.outcome import seeded_chance
from meter.sandbox.stripe_faults import ConnectionLostError, StripeFaults, StripePlan
from meter.sandbox.stripe_ids import StripeIds
from meter.sandbox.stripe_keys import SANDBOX_ACCOUNT, Caller, StripeKey, StripeKeys
from meter.sandbox.stripe_ledger import Call, Document, StripeLedger
from meter.sandbox.stripe_limits import Pair
from meter.sandbox.stripe_refusals import StripeRefusal
from meter.sandbox.stripe_reports import Push, Webhook, pushes
from meter.sandbox.stripe_routes import find_route, templated
from meter.sandbox.stripe_rules import StripeRules
from meter.sandbox.stripe_truth import RequestRecord, StripeTruth, truth_of
from meter.sandbox.stripe_wire import KEPT_HEADERS, StripeAnswer, StripeRequest, request_of

SERVER_ERROR = 500


def utc_now() -> datetime:
    """Return the time as aware UTC."""
    return datetime.now(UTC)


@dataclasses.dataclass(slots=True, kw_only=True)
class Exchange:
    """A request that is carried out and not answered yet; give it to `StripeBooks.end`."""

    request: StripeRequest
    answer: StripeAnswer
    ledger: StripeLedger | None = None
    holding: Pair | None = None
    owns_key: bool = False


class StripeBooks:
    """Stripe's metering API as a state machine; from any thread.

    Args:
        keys: The accepted API keys and what they open; none given accepts any key of the right
            shape for one account.
        rules: Stripe's limits.
        faults: What goes wrong; may be changed at any time through the attribute `faults`.
        seed: The same seed gives the same ids in the same order of requests, and the same
            faults for the same requests, in whatever order they come.
        clock: The time that everything is measured by, aware UTC.
        keep_requests: How many requests `requests` keeps, the latest ones; None keeps all.
    """

    def __init__(
        self,
        *,
        keys: Mapping[str, StripeKey] | Collection[str] = (),
        rules: StripeRules | None = None,
        faults: StripeFaults | None = None,
        seed: int = 1,
        clock: Callable[[], datetime] = utc_now,
        keep_requests: int | None = None,
    ) -> None:
        self.faults = faults or StripeFaults()
        self._keys = StripeKeys(keys)
        self._rules = rules or StripeRules()
        self._seed = seed
        self._clock = clock
        self._ids = StripeIds(seed)
        self._lock = threading.RLock()
        self._ledgers: dict[tuple[str, bool], StripeLedger] = {}
        self._plans: deque[tuple[str, StripePlan]] = deque()
        self._repeats: Counter[str] = Counter()
        self._requests: deque[RequestRecord] = deque(maxlen=keep_requests)
        self._counts: Counter[tuple[str, str, int]] = Counter()
        self._webhooks: list[Webhook] = []
        self._outbox: list[Push] = []

    def handle(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | str | None = None
    ) -> StripeAnswer:
        """Answer one request at once, whatever delays its plan has.

        `path` may carry a query; `body` is the form or the JSON as sent.

        Raises:
            ConnectionLostError: The request or its answer was lost, by plan or by chance.
        """
        request = request_of(method, path, headers, body)
        plan = self.draw(request)
        exchange = self.begin(request, plan)
        self.end(exchange)
        if plan.lost == "response":
            raise ConnectionLostError("response")
        return exchange.answer

    def plan_next(self, *plans: StripePlan, path: str = "") -> None:
        """Say what happens to the next requests, in order; later ones are left to chance.

        With a `path`, they wait for requests whose path begins with it.
        """
        with self._lock:
            self._plans.extend((path, plan) for plan in plans)

    def add(
        self,
        path: str,
        params: Mapping[str, Any],
        *,
        account: str = SANDBOX_ACCOUNT,
        livemode: bool = False,
    ) -> Document:
        """Do what a POST of `params` to `path` would do, without key, fault, limit or trace.

        For what a test needs to be there: `add("/v1/customers", {"name": "Anna"})`.

        Raises:
            StripeRefusal: The parameters are wrong.
        """
        with self._lock:
            ledger = self._ledger(account, livemode=livemode)
            route, object_id = find_route("POST", path)
            call = Call(
                ledger=ledger,
                params=dict(params),
                object_id=object_id,
                v2=path.startswith("/v2/"),
                now=self._clock(),
                plan=StripePlan(),
                idempotency_key=None,
            )
            try:
                return dict(route.work(call))
            finally:
                if call.holding is not None:
                    ledger.locks.release(call.holding)

    def webhook_to(self, url: str, secret: str) -> None:
        """Push every thin event from now on to `url`, signed with `secret`; see `take_pushes`."""
        with self._lock:
            self._webhooks.append(Webhook(url, secret))

    def take_pushes(self) -> list[Push]:
        """Make the error reports that are due, and return what is to be pushed; once each."""
        with self._lock:
            self._settle(self._clock())
            taken, self._outbox = self._outbox, []
            return taken

    def truth(self, *, account: str | None = None, livemode: bool | None = None) -> StripeTruth:
        """Return what Stripe will bill, exactly; all accounts and both modes unless named."""
        with self._lock:
            events = [
                event
                for ledger in self._ledgers.values()
                if account in {None, ledger.account} and livemode in {None, ledger.livemode}
                for event in ledger.events
            ]
            return truth_of(events, self._counts)

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """The requests as they came, oldest first, without keys."""
        with self._lock:
            return tuple(self._requests)

    def draw(self, request: StripeRequest) -> StripePlan:
        """Say what happens to a request that is on its way: by plan first, then by chance."""
        with self._lock:
            for place, (path, plan) in enumerate(self._plans):
                if request.path.startswith(path):
                    del self._plans[place]
                    return plan
            if not self.faults.concern(request.path):
                return StripePlan()
            same = _digest(request)
            self._repeats[same] += 1
            return self.faults.draw(seeded_chance(self._seed, same, self._repeats[same]))

    def begin(self, request: StripeRequest, plan: StripePlan) -> Exchange:
        """Carry a request out, and hold its locks until `end`.

        Raises:
            ConnectionLostError: It is lost before it arrives.
        """
        with self._lock:
            now = self._clock()
            self._settle(now)
            if plan.lost == "request":
                self._note(request, plan, now, status=0)
                raise ConnectionLostError("request")
            exchange = self._carried_out(request, plan, now)
            if plan.malformed:
                body = exchange.answer.body
                exchange.answer = exchange.answer._replace(body=body[: len(body) // 2])
            self._note(request, plan, now, status=exchange.answer.status)
            return exchange

    def end(self, exchange: Exchange) -> None:
        """Release what the request held: it is answered, or its client is gone."""
        with self._lock:
            if exchange.ledger is not None:
                if exchange.holding is not None:
                    exchange.ledger.locks.release(exchange.holding)
                if exchange.owns_key:
                    exchange.ledger.stored.end(exchange.request)

    def _carried_out(self, request: StripeRequest, plan: StripePlan, now: datetime) -> Exchange:
        """Pass the layers from the outside in: key, gateway, limits, stored answers, the work."""
        in_front = plan.status is not None and plan.status != SERVER_ERROR
        exchange = Exchange(request=request, answer=StripeAnswer(SERVER_ERROR, {}, b""))
        try:
            if in_front and not plan.recorded:
                raise plan.refusal()
            caller = self._keys.caller(request.headers)
            ledger = exchange.ledger = self._ledger(caller.account, livemode=caller.livemode)
            replayed = self._admitted(caller, ledger, request, now)
            if replayed is not None:
                exchange.answer = replayed
            else:
                exchange.owns_key = True
                exchange.answer = self._worked(exchange, ledger, plan, now)
            if in_front:
                raise plan.refusal()
        except StripeRefusal as refusal:
            exchange.answer = self._refused(refusal, request)
        return exchange

    def _admitted(
        self, caller: Caller, ledger: StripeLedger, request: StripeRequest, now: datetime
    ) -> StripeAnswer | None:
        """Check what comes before the work; return the stored answer if there is one."""
        route, _ = find_route(request.method, request.path)
        caller.require(route.permission)
        if request.v2 and "stripe-version" not in request.headers:
            raise StripeRefusal(400, "The header Stripe-Version is missing.")
        if route.meter_event:
            ledger.event_rate.take(now)
        return ledger.stored.replay(request, now)

    def _worked(
        self, exchange: Exchange, ledger: StripeLedger, plan: StripePlan, now: datetime
    ) -> StripeAnswer:
        """Do the work, and store its answer: v1's failures too, v2's successes only."""
        request = exchange.request
        answer, keep = self._done(exchange, ledger, plan, now)
        if plan.status == SERVER_ERROR:
            answer, keep = self._refused(plan.refusal(), request), True
        keep = keep and not (request.v2 and answer.status >= 400)  # noqa: PLR2004 - because those are failures
        ledger.stored.begin(request, now, answer if keep else None)
        return answer

    def _done(
        self, exchange: Exchange, ledger: StripeLedger, plan: StripePlan, now: datetime
    ) -> tuple[StripeAnswer, bool]:
        """Return the honest answer, and whether the work had begun when it was found."""
        request = exchange.request
        if plan.status == SERVER_ERROR and not plan.recorded:
            return exchange.answer, True
        route, object_id = find_route(request.method, request.path)
        try:
            call = Call(
                ledger=ledger,
                params=_params(request),
                object_id=object_id,
                v2=request.v2,
                now=now,
                plan=plan,
                idempotency_key=request.idempotency_key,
            )
        except StripeRefusal as refusal:
            return self._refused(refusal, request), False
        try:
            return self._answer(200, route.work(call), request), True
        except StripeRefusal as refusal:
            return self._refused(refusal, request), refusal.executed
        finally:
            exchange.holding = call.holding

    def _refused(self, refusal: StripeRefusal, request: StripeRequest) -> StripeAnswer:
        answer = self._answer(refusal.status, refusal.document(v2=request.v2), request)
        return answer._replace(headers={**answer.headers, **refusal.headers})

    def _answer(self, status: int, document: Document, request: StripeRequest) -> StripeAnswer:
        headers = {"content-type": "application/json", "request-id": self._ids.new("req")}
        for name in ("idempotency-key", "stripe-version"):
            if name in request.headers:
                headers[name] = request.headers[name]
        return StripeAnswer(status, headers, msgspec.json.encode(document))

    def _ledger(self, account: str, *, livemode: bool) -> StripeLedger:
        ledger = self._ledgers.get((account, livemode))
        if ledger is None:
            ledger = self._ledgers[account, livemode] = StripeLedger(
                account=account, livemode=livemode, rules=self._rules, ids=self._ids
            )
        return ledger

    def _settle(self, now: datetime) -> None:
        """Make the error reports that are due."""
        for ledger in self._ledgers.values():
            for document in ledger.reports.settle(now):
                self._outbox += pushes(document, self._webhooks)

    def _note(
        self, request: StripeRequest, plan: StripePlan, now: datetime, *, status: int
    ) -> None:
        route, _ = templated(request.path)
        self._counts[request.method, route, status] += 1
        try:
            params = request.params()
        except msgspec.DecodeError:
            params = {}
        self._requests.append(
            RequestRecord(
                at=now,
                method=request.method,
                path=request.path,
                route=route,
                params=params,
                headers={
                    name: request.headers[name] for name in KEPT_HEADERS if name in request.headers
                },
                status=status,
                lost=plan.lost,
            )
        )


def _digest(request: StripeRequest) -> str:
    """Return what is the same for a request that is sent again, and for no other."""
    what = f"{request.method} {request.path}?{request.query} ".encode() + request.body
    return hashlib.blake2b(what, digest_size=16).hexdigest()


def _params(request: StripeRequest) -> dict[str, Any]:
    try:
        return request.params()
    except msgspec.DecodeError:
        raise StripeRefusal(400, "The request body is not a JSON object.") from None
