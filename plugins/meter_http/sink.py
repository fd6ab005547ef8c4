"""The sink `http`: POSTs events to a destination that takes JSON."""

from __future__ import annotations

import gzip
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meter.errors import FatalSinkError, RetryableSinkError, SinkError
from meter.sinks import Guarantee, Report, Sink
from meter_http.addresses import shown
from meter_http.customers import Customers
from meter_http.forms import form_for
from meter_http.judging import Judge
from meter_http.options import MOST_EVENTS, HttpOptions
from meter_http.placeholders import Facts, NeverBilled
from meter_http.results import Results, read_results
from meter_http.round import Refused, Round, Trust
from meter_http.signing import key_of, signed_headers
from meter_http.words import Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meter.events import Event
    from meter.sinks import Batch, SinkContext
    from meter_http.client import Answer, Client

__all__ = ["HttpSink"]

_TOO_LARGE: Final = 413
"""Content Too Large; the name of the status differs between versions of Python."""


@dataclass(frozen=True, slots=True)
class _Item:
    """One event, and its JSON."""

    facts: Facts
    json: bytes

    @property
    def event_id(self) -> str:
        return self.facts.event.event_id


class HttpSink(Sink):
    """Sends each event at least once, always under the same id and with the same content.

    Not promised: that the destination counts it once. It does if it knows an event again by its
    id: see docs/http.md for those that do, and for how long.
    """

    type = "http"
    guarantee = Guarantee.AT_LEAST_ONCE
    guarantee_note = (
        "after a lost answer the same events are sent again under the same ids, so a destination "
        "that knows them by id counts each once"
    )
    Options = HttpOptions
    batch_size = MOST_EVENTS
    options: HttpOptions

    def __init__(self, options: HttpOptions, context: SinkContext) -> None:
        """Read the templates; touch nothing yet."""
        super().__init__(options, context)
        self._form = form_for(options)
        self._headers = {name: v.get_secret_value() for name, v in options.headers.items()}
        secrets = [secret.get_secret_value() for secret in options.signing_secret]
        self._keys = [key_of(secret) for secret in secrets]
        query = options.url.partition("?")[2]
        self._words = Words([*self._headers.values(), *secrets, query])
        self._judge = Judge(options, self._words)
        self._customers = Customers(options.customers.file) if options.customers else None
        self._trust = Trust()
        self._most = 1 if self._form.single else options.max_events
        self._paused_until = 0.0
        self._client: Client | None = None

    def open(self) -> None:
        """Read the customers' file; the connection is made when it is needed.

        Raises:
            RetryableSinkError: the file cannot be used.
        """
        self.close()
        if self._customers is not None:
            self._customers.refresh()
        self._client = self._new_client()

    def close(self) -> None:
        """Let go of the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def tend(self) -> Report | None:
        """Read the customers' file again if it changed, and offer what is held."""
        if self._customers is None:
            return None
        before = self._customers.trouble
        changed = self._customers.refresh()
        if self._customers.trouble not in (None, before):
            self.context.log.warning(
                "http.customers_unused", extra={"error": self._customers.trouble}
            )
        return Report(hasten=True) if changed else None

    def check(self) -> Sequence[str]:
        """Reach the address, and ask `check_url` with the key if there is one.

        Raises:
            SinkError: the address cannot be reached, or the key is refused.
        """
        lines = []
        if self._customers is not None:
            self._customers.refresh()
            lines.append(f"{len(self._customers)} customers have a name in the file")
        client = self._new_client()
        try:
            # OPTIONS changes nothing (RFC 9110, 9.2.1), and any answer shows that one is there.
            status = client.options().status
            lines.append(f"{shown(self.options.url)} can be reached (OPTIONS: HTTP {status})")
            if self.options.check_url is not None:
                answer = client.get(self.options.check_url, self._headers)
                address = shown(self.options.check_url)
                if not 200 <= answer.status < 300:  # noqa: PLR2004  because 2xx is what HTTP calls well
                    raise FatalSinkError(
                        f"{address}: {self._judge.said(answer)}; look at `headers` and `check_url`"
                    )
                lines.append(f"{address} takes the key (HTTP {answer.status})")
        finally:
            client.close()
        return lines

    def deliver(self, batch: Batch) -> Report:
        """POST the events, at most `max_events` and `max_bytes` in one request.

        A request that is refused is halved until the event to blame stands alone; while the
        destination has taken nothing yet, delivery does that, because it may be the sink that is
        to blame. When something fails after others were taken, the report has those; the rest is
        offered again.

        Raises:
            RetryableSinkError: no answer, or one that asks to come again; nothing was taken.
            FatalSinkError: a wrong key or address; nothing was taken.
            Refused: the destination refuses everything, and has taken nothing of this sink.
        """
        pause = self._paused_until - self.context.clock.monotonic()
        if pause > 0:
            raise RetryableSinkError("the destination asked to wait", retry_after=pause)
        around = Round(self._trust)
        chunks = deque(self._chunks(self._items(batch, around)))
        try:
            while chunks and not self._trust.exhausted:
                self._send(chunks.popleft(), chunks, around)
                if self.context.stopping():
                    break
        except SinkError as error:
            if not around.taken:
                raise
            if isinstance(error, RetryableSinkError) and error.retry_after:
                self._paused_until = self.context.clock.monotonic() + error.retry_after
            self.context.log.warning("http.interrupted", extra={"error": str(error)})
        return around.report()

    def _items(self, batch: Batch, around: Round) -> list[_Item]:
        """Write each event's JSON; those that cannot be sent are noted at once."""
        items = []
        for event in batch.events:
            facts = self._facts(event, around)
            if facts is None:
                continue
            try:
                item = _Item(facts, self._form.item(facts))
            except NeverBilled as error:
                around.unfit(event.event_id, str(error))
                continue
            size = self._form.size(len(item.json), 1)
            if size > self.options.max_bytes:
                around.unfit(event.event_id, f"{size} bytes alone; `max_bytes` allows fewer")
                continue
            items.append(item)
        return items

    def _facts(self, event: Event, around: Round) -> Facts | None:
        event_type = self.options.type_of(event.kind)
        customer: str | None = event.customer_id
        if self._customers is not None:
            customer = self._customers.find(event.customer_id)
            if customer is None:
                around.held[event.event_id] = self._customers.unknown(event.customer_id)
                return None
        if event_type is None or customer is None:
            around.held[event.event_id] = f"`event_type` names no type for {event.kind}; add it"
            return None
        return Facts(
            event=event,
            event_type=event_type,
            customer=customer,
            source=self.options.source,
            journal_id=self.context.journal_id,
            as_numbers=self.options.numbers == "number",
            strict=self._form.strict,
        )

    def _chunks(self, items: list[_Item]) -> list[list[_Item]]:
        """Cut a batch into requests by number and by size, in order."""
        chunks: list[list[_Item]] = []
        sizes = 0
        for item in items:
            sizes += len(item.json)
            full = not chunks or len(chunks[-1]) >= self._most
            if full or self._form.size(sizes, len(chunks[-1]) + 1) > self.options.max_bytes:
                chunks.append([])
                sizes = len(item.json)
            chunks[-1].append(item)
        return chunks

    def _send(self, chunk: list[_Item], chunks: deque[list[_Item]], around: Round) -> None:
        """Send one request and note what became of it; what is to be sent next goes in front."""
        answer = self._post(chunk)
        took = self._judge.took(answer)
        ids = [item.event_id for item in chunk]
        results = read_results(self.options.results, answer, ids) if self.options.results else None
        if took and results is not None and results.stray:
            raise FatalSinkError(
                f"{shown(self.options.url)}: HTTP {answer.status} speaks of events that were not "
                "sent; look at `results`"
            )
        if results is not None and (took or results.named):
            self._sort(results, answer, took=took, chunk=chunk, chunks=chunks, around=around)
        elif took and not (self.options.results and self._promises_each()):
            around.delivered(ids)
        elif took:
            raise RetryableSinkError(
                f"{shown(self.options.url)}: HTTP {answer.status} without anything at "
                f"`results.path`; it is not known what became of {len(chunk)} events"
            )
        elif len(chunk) > 1:
            if not self._trust.proven and answer.status != _TOO_LARGE:
                raise Refused(self._judge.said(answer))  # delivery looks for the event to blame
            self._split(answer, chunk, chunks)
        elif self._judge.is_duplicate(answer):
            around.duplicate(ids)
        else:
            around.refused(ids[0], self._judge.said(answer))

    def _promises_each(self) -> bool:
        results = self.options.results
        return results is not None and bool(results.error_field or results.status_field)

    def _sort(
        self,
        results: Results,
        answer: Answer,
        *,
        took: bool,
        chunk: list[_Item],
        chunks: deque[list[_Item]],
        around: Round,
    ) -> None:
        """Note what an answer says of single events.

        In a request that was taken, whoever is not named was taken too, unless each event should
        have had an entry. In one that was refused nothing was taken: the rest goes again at once.
        """
        if took and not (results.taken or results.refused) and (results.complete or results.later):
            raise RetryableSinkError(
                f"HTTP {answer.status} takes none of {len(chunk)} events now",
                retry_after=answer.retry_after,
            )
        rest = [item for place, item in enumerate(chunk) if place not in results.named]
        around.delivered([chunk[place].event_id for place in sorted(results.taken)])
        if took and not results.complete:
            around.delivered([item.event_id for item in rest])
        for place, text in results.refused.items():
            if self._judge.says_duplicate(text):
                around.duplicate([chunk[place].event_id])
            else:
                said = self._judge.words(f"HTTP {answer.status}", text)
                around.refused(chunk[place].event_id, said)
        if rest and not took:
            chunks.appendleft(rest)

    def _split(self, answer: Answer, chunk: list[_Item], chunks: deque[list[_Item]]) -> None:
        middle = len(chunk) // 2
        chunks.extendleft((chunk[middle:], chunk[:middle]))
        if answer.status == _TOO_LARGE:
            self._most = max(1, min(self._most, middle))
        self.context.log.warning(
            "http.split", extra={"events": len(chunk), "error": self._judge.said(answer)}
        )

    def _post(self, chunk: list[_Item]) -> Answer:
        body = self._form.body([item.json for item in chunk])
        headers = {**self._form.headers([item.facts for item in chunk]), **self._lower_headers()}
        if self._keys:
            ids = [item.event_id for item in chunk]
            headers |= signed_headers(self._keys, ids, body, self.context.clock.now())
        if self.options.gzip:
            body = gzip.compress(body, compresslevel=6, mtime=0)
            headers["content-encoding"] = "gzip"
        if self._client is None:
            raise RetryableSinkError("not open")
        return self._client.post(body, headers)

    def _lower_headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self._headers.items()}

    def _new_client(self) -> Client:
        from meter_http.client import Client

        return Client(
            self.options.url,
            timeout=self.options.timeout.total_seconds(),
            clock=self.context.clock,
            words=self._words,
        )
