"""Durable webhook acknowledgements per second, over keep-alive connections on loopback.

Two servers take turns, in rounds, each in a process of its own and on a fresh journal; this
process is the client. Every acknowledged receipt is looked for in the journal afterwards, and
a round that does not hold exactly those is an error.

- the floor: a bare httptools protocol on uvloop that compares the secret, decodes the body,
  takes the query, hands a receipt to meter's own group-committing journal, and answers after
  its commit. It has no routing, no cap or deadline on bodies, no limits, no counters: what a
  server cannot do less than.
- meter: `App` with the route of `WebhookCollector`, served by `HttpServer`, as `meter run`
  does it. Its resolver does not run, so nothing is fetched.

Printed: acknowledgements per second, the median and the 99th percentile of the time from a
request to its answer (milliseconds), and what one acknowledgement costs the server in CPU
time (microseconds, all threads, start-up and warm-up included), which other work on the
machine disturbs least.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hmac
import json
import logging
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httptools
import msgspec
import uvloop

from meter.clock import SystemClock
from meter.collectors.intake import Intake
from meter.collectors.interface import CollectorContext
from meter.collectors.webhook import WebhookCollector, WebhookOptions
from meter.config import ServerOptions
from meter.journal import Journal, NewReceipt, open_journal
from meter.plugins import load_plugins
from meter.server.app import App
from meter.server.listening import HttpServer, bind

THROUGHPUT_TARGET: Final = 0.55
P99_TARGET: Final = 5.0
WARM_UP_SECONDS: Final = 0.5
COLLECTOR: Final = "transcripts"
PATH: Final = "/webhooks/assemblyai"
HEADER: Final = "X-Meter-Secret"
SECRET: Final = "a-secret-of-the-usual-length-0123456789"
ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 17\r\n\r\n"
    b'{"received":true}'
)


# -- the servers, each in its own process ----------------------------------------------------


class Floor(asyncio.Protocol):
    """The least that can acknowledge a webhook durably."""

    def __init__(self, journal: Journal, clock: SystemClock) -> None:
        """Serve one connection; requests are not pipelined."""
        self._journal = journal
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._waiting: asyncio.Task[None] | None = None
        self._url = self._secret = self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """Forget the last request."""
        self._url = self._secret = self._body = b""

    def on_url(self, url: bytes) -> None:
        """Take the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take the secret."""
        if name.lower() == b"x-meter-secret":
            self._secret = value

    def on_body(self, body: bytes) -> None:
        """Take the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Store it and answer."""
        self._waiting = self._loop.create_task(self._store())

    async def _store(self) -> None:
        if not hmac.compare_digest(self._secret, SECRET.encode()):
            self._transport.close()
            return
        body = msgspec.json.decode(self._body)
        kept = {"transcript_id": body["transcript_id"], "status": body["status"]}
        query = httptools.parse_url(self._url).query or b""
        await self._journal.add_receipt(
            NewReceipt(
                COLLECTOR,
                self._clock.now(),
                query.decode("ascii"),
                msgspec.json.encode(kept).decode(),
            )
        )
        self._transport.write(ANSWER)


async def serve_floor(journal: Journal, listener: socket.socket, stop: asyncio.Event) -> None:
    clock = SystemClock()
    server = await asyncio.get_running_loop().create_server(
        lambda: Floor(journal, clock), sock=listener
    )
    await stop.wait()
    server.close()


async def serve_meter(journal: Journal, listener: socket.socket, stop: asyncio.Event) -> None:
    clock = SystemClock()
    collector = WebhookCollector(
        WebhookOptions.model_validate(
            {"api_key": "never-used", "secret": SECRET, "path": PATH, "header": HEADER}
        ),
        CollectorContext(
            name=COLLECTOR,
            collectors=frozenset({COLLECTOR}),
            intake=Intake(journal, load_plugins(())),
            journal=journal,
            clock=clock,
            log=logging.LoggerAdapter(logging.getLogger("meter.collectors")),
        ),
    )
    routes = [(f"collectors.{COLLECTOR}", route) for route in collector.routes()]
    app = App(routes, options=ServerOptions(), journal=journal, clock=clock)
    server = HttpServer(app, receipt_deadline=ServerOptions().receipt_deadline)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await stop.wait()
    server.should_exit = True
    await serving


CONTESTANTS: Final = {"floor": serve_floor, "meter": serve_meter}


async def serve(name: str, path: Path) -> None:
    """Serve until SIGTERM; standard output says on which port."""
    journal = open_journal(str(path), SystemClock(), run=True)
    listener = bind("127.0.0.1", 0)
    listener.listen(1024)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(listener.getsockname()[1], flush=True)
    try:
        await CONTESTANTS[name](journal, listener, stop)
    finally:
        journal.close()


# -- the client ------------------------------------------------------------------------------


@dataclass(slots=True)
class Load:
    """What all connections of one round share: the requests to come, and what came back."""

    requests: Iterator[bytes]
    going: bool = True
    acknowledged: int = 0
    refused: int = 0
    seconds: list[tuple[float, float]] = field(default_factory=list)
    """For each answer when it came and how long it took."""


class Client(asyncio.Protocol):
    """One keep-alive connection that sends a request, awaits the answer, and again."""

    def __init__(self, load: Load) -> None:
        """Belong to a round; `ended` resolves once the last answer has come."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._load = load
        self._transport: Any = None
        self._sent = 0.0
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take an answer once it is whole."""
        self._buffer += data
        head, gap, body = self._buffer.partition(b"\r\n\r\n")
        if not gap:
            return
        _, _, length = head.lower().partition(b"content-length:")
        if len(body) < int(length.split(b"\r\n", 1)[0]):
            return
        now = time.perf_counter()
        if head.startswith(b"HTTP/1.1 200"):
            self._load.acknowledged += 1
        else:
            self._load.refused += 1
        self._load.seconds.append((now, now - self._sent))
        self._buffer = b""
        if self._load.going:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that this connection is done; being hung up on early is an error."""
        if not self.ended.done():
            if self._load.going:
                self.ended.set_exception(exc or ConnectionResetError("the server hung up"))
            else:
                self.ended.set_result(None)

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(next(self._load.requests))


def requests() -> Iterator[bytes]:
    """Yield webhook deliveries as AssemblyAI makes them, each of another transcript."""
    run = uuid.uuid4().hex[:20]
    number = 0
    while True:
        number += 1
        body = b'{"transcript_id":"%s%012d","status":"completed"}' % (run.encode(), number)
        yield (
            b"POST %s?customer_id=customer-%d&project_id=project-%d HTTP/1.1\r\n"
            b"host: 127.0.0.1\r\nuser-agent: AssemblyAI-Webhook\r\n"
            b"accept: */*\r\ncontent-type: application/json\r\n"
            b"%s: %s\r\ncontent-length: %d\r\n\r\n%s"
            % (
                PATH.encode(),
                number % 500,
                number % 20,
                HEADER.encode(),
                SECRET.encode(),
                len(body),
                body,
            )
        )


async def drive(port: int, connections: int, seconds: float) -> tuple[Load, list[float], float]:
    """Load a server; return the round, the latencies within the window, and its throughput."""
    loop = asyncio.get_running_loop()
    load = Load(requests())
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: Client(load), "127.0.0.1", port)
        clients.append(client)
    await asyncio.sleep(WARM_UP_SECONDS)
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    over = time.perf_counter()
    load.going = False
    async with asyncio.timeout(20):
        await asyncio.gather(*(client.ended for client in clients))
    latencies = [took for at, took in load.seconds if began <= at < over]
    return load, latencies, len(latencies) / (over - began)


# -- rounds ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Round:
    """What one server did in one round."""

    per_second: float
    p50: float
    p99: float
    cpu_micros: float


def one_round(name: str, connections: int, seconds: float) -> Round:
    with tempfile.TemporaryDirectory(prefix="meter-benchmark-") as folder:
        path = Path(folder, "meter.db")
        server = subprocess.Popen(
            [sys.executable, __file__, "--serve", name, str(path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                load, latencies, per_second = runner.run(drive(port, connections, seconds))
            server.terminate()
            _, status, usage = os.wait4(server.pid, 0)
            server.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if server.returncode is None:
                server.kill()
            with server:
                pass
        assert server.returncode == 0, f"{name} ended with {server.returncode}"
        assert not load.refused, f"{name} refused {load.refused} requests"
        check(name, path, load.acknowledged)
    latencies.sort()
    return Round(
        per_second=per_second,
        p50=latencies[len(latencies) // 2] * 1000,
        p99=latencies[int(len(latencies) * 0.99)] * 1000,
        cpu_micros=(usage.ru_utime + usage.ru_stime) / load.acknowledged * 1e6,
    )


def check(name: str, path: Path, acknowledged: int) -> None:
    """Fail unless the journal holds each acknowledged receipt once, and nothing else."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        ((stored, distinct),) = connection.execute(
            "SELECT count(*), count(DISTINCT json_extract(fields, '$.transcript_id')) FROM receipts"
        )
    assert stored == distinct == acknowledged, (
        f"{name}: {acknowledged} acknowledged, {stored} stored, {distinct} of them distinct"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--json", action="store_true", help="print every round as JSON")
    parser.add_argument("--serve", nargs=2, metavar=("NAME", "JOURNAL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(options.serve[0], Path(options.serve[1])))
        return 0

    rounds: dict[str, list[Round]] = {name: [] for name in CONTESTANTS}
    for _ in range(options.rounds):
        for name, results in rounds.items():
            results.append(one_round(name, options.connections, options.seconds))
    if options.json:
        print(json.dumps(rounds, default=msgspec.to_builtins))

    def middle(name: str, figure: Callable[[Round], float]) -> float:
        return statistics.median(figure(result) for result in rounds[name])

    figures: dict[str, Callable[[Round], float]] = {
        "acks/s": lambda r: r.per_second,
        "p50 ms": lambda r: r.p50,
        "p99 ms": lambda r: r.p99,
        "CPU µs/ack": lambda r: r.cpu_micros,
    }
    print(f"{options.connections} connections, {options.rounds} rounds of {options.seconds:g} s")
    print(f"{'':12}" + "".join(f"{name:>12}" for name in (*CONTESTANTS, "ratio")))
    for title, figure in figures.items():
        floor, ours = middle("floor", figure), middle("meter", figure)
        print(f"{title:12}{floor:12,.1f}{ours:12,.1f}{ours / floor:12.2f}")
    throughput = middle("meter", figures["acks/s"]) / middle("floor", figures["acks/s"])
    p99 = middle("meter", figures["p99 ms"]) / middle("floor", figures["p99 ms"])
    print(
        f"targets: acks/s at least {THROUGHPUT_TARGET} of the floor: "
        f"{'met' if throughput >= THROUGHPUT_TARGET else 'MISSED'}; "
        f"p99 under {P99_TARGET:g} times the floor's: {'met' if p99 < P99_TARGET else 'MISSED'}"
    )
    print("every acknowledged receipt was found in its journal, once, and no other")
    return 0


if __name__ == "__main__":
    sys.exit(main())
