"""200 sessions of the real SDK through the relay: billed to the second, and nothing leaks."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from random import Random
from urllib.parse import quote, quote_plus

import httpx
import pytest

from acceptance.process import API_KEY, Meter, wait_until
from acceptance.streaming import (
    CHUNK_SECONDS,
    COLLECTOR,
    THE_SDKS_OWN,
    TOKEN_SECRET,
    Loop,
    Voice,
    relayed,
    token,
    ws,
)
from acceptance.streaming_books import Billed, billed, in_journal, in_sinks
from meter.sandbox.documents import SPOKEN_TEXT
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.stream_books import StreamTruth
from meter.sandbox.stream_plans import StreamPlan
from meter.sandbox.streaming import StreamingSandbox

pytestmark = [pytest.mark.acceptance, *THE_SDKS_OWN]

SESSIONS = 200
AT_ONCE = 20
SPOKEN = ("Larkspur", "larkspur", "Odalys", "odalys")
"""Words of the transcript that stand nowhere else."""


@pytest.fixture(autouse=True)
def _token_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METER_TOKEN_SECRET", TOKEN_SECRET)


@pytest.fixture
def double() -> Iterator[StreamingSandbox]:
    with StreamingSandbox(keys={API_KEY}, heartbeat_seconds=0.05) as double:
        yield double


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


@pytest.fixture
def relay(meter: Meter, double: StreamingSandbox) -> Meter:
    return meter.configure(relayed(double.url)).start()


CUSTOMERS = (
    "acme-corporation",
    "Müller & Söhne",
    "日本電話 東京",
    "sara+billing@example.com",
    "umbrella-health",
    "cus_8f14e45fceea167a",
)
PROJECTS = ("Aufträge", "会議-室", "voice=mail&more", "night-shift-dictation")


def test_200_sessions_are_billed_to_the_second_and_nothing_leaks_either_way(
    relay: Meter, double: StreamingSandbox, loop: Loop
) -> None:
    chance = Random("two hundred")
    door = threading.Lock()
    owners: dict[str, tuple[str, dict[str, str]]] = {}
    tokens: list[str] = []
    transcripts: list[str] = []

    def stream(number: int) -> None:
        name = f"s-{number}"
        is_async = number % 2 == 1
        customer = CUSTOMERS[number % len(CUSTOMERS)]
        dimensions = {"project_id": PROJECTS[number % len(PROJECTS)], "order_id": f"order/{number}"}
        owners[name] = customer, dimensions
        tokens.append(token(customer, dimensions))
        # A fraction ends the SDK's reading without a word (reference §6): its time out is short,
        # and in the synchronous one it would end a thread with an exception.
        fractional = is_async and number % 4 == 1
        seconds = Decimal(f"{1000 + number}.{number:03d}5") if fractional else 1000 + number
        plan = StreamPlan(termination_fields={"session_duration_seconds": seconds})
        voice = Voice(
            ws(relay.url),
            loop=loop if is_async else None,
            token=tokens[-1],
            terminate_timeout=0.5 if fractional else 30,
        )
        with door:  # so that each session has its own plan
            double.plan_next(StreamPlan() if number % 5 == 0 else plan)
            voice.connect(prompt=name)
        voice.speak(lengths[number])
        voice.leave()
        transcripts.extend(turn["transcript"] for turn in voice.of("Turn"))

    lengths = [chance.randrange(5, 30) * CHUNK_SECONDS for _ in range(SESSIONS)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(stream, number) for number in range(SESSIONS)]:
            done.result()
    wait_until(lambda: not double.live())
    wait_until(lambda: delivered(relay) == SESSIONS, showing=lambda: relay.status()[1])
    while_running = kept_of(relay.folder, tokens)
    code, status = relay.status()
    assert relay.stop() == 0

    truth = double.truth()
    assert len(truth) == SESSIONS
    assert {row.ended for row in truth} == {"terminated"}
    expected = sorted(
        billed(
            row.session_id,
            owners[row.params["prompt"]][0],
            row.session_seconds,
            row.audio_seconds,
            owners[row.params["prompt"]][1],
        )
        for row in truth
    )
    assert len([row for row in expected if row.seconds % 1]) == SESSIONS // 4 - SESSIONS // 20
    assert in_journal(relay.folder) == expected
    assert in_sinks(relay.folder) == (expected, expected)
    by_customer: Counter[str] = Counter()
    for row in truth:
        by_customer[owners[row.params["prompt"]][0]] += row.session_seconds  # type: ignore[assignment]  # Decimals
    for found in (in_journal(relay.folder), *in_sinks(relay.folder)):
        assert sums(found) == dict(by_customer)

    assert code == 0
    assert status["events"] == {"stream_terminated": SESSIONS}
    assert status["quarantined"] == {}
    assert all(balance["balances"] for balance in status["balances"])
    assert while_running == kept_of(relay.folder, tokens) == []
    assert told_upstream(truth, tokens) == []
    assert all(word in " ".join(transcripts) for word in ("larkspur", "odalys")), "it was spoken"
    assert not [line for line in relay.logs() if line["level"] in ("error", "critical")]


def delivered(meter: Meter) -> int:
    ledger, export = in_sinks(meter.folder)
    return min(len(ledger), len(export))


def sums(found: list[Billed]) -> dict[str, Decimal]:
    customers = {row.customer_id for row in found}
    return {c: sum((r.seconds for r in found if r.customer_id == c), Decimal()) for c in customers}


def kept_of(folder: Path, tokens: list[str]) -> list[tuple[str, str]]:
    """Name each file that holds a secret or a spoken word, with what it holds."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"meter.db", "usage.db", "run.log"} <= {path.name for path in files}
    secrets = (API_KEY, TOKEN_SECRET, SPOKEN_TEXT, *SPOKEN, *tokens)
    return [
        (path.name, text)
        for path in files
        for data in [path.read_bytes()]
        for text in (*secrets, *(t.rpartition(".")[2] for t in tokens))
        if text.encode() in data
    ]


def told_upstream(truth: list[StreamTruth], tokens: list[str]) -> list[tuple[str, str]]:
    """Name everything of a customer that the provider was told, in whatever spelling."""
    names = [*CUSTOMERS, *PROJECTS, "order/", "order_id", "project_id", TOKEN_SECRET, COLLECTOR]
    parts = [part for given in tokens for part in given.split(".")[1:]]
    spellings = {s for name in names for s in (name, quote(name), quote(name, safe=""))}
    spellings |= {quote_plus(name) for name in names}
    spellings |= {json.dumps(name).strip('"') for name in names}
    found = []
    for row in truth:
        assert row.headers["authorization"] == API_KEY
        received = repr((row.query, dict(row.params), dict(row.headers)))
        found += [(row.session_id, text) for text in (*spellings, *parts) if text in received]
    return found


# -- beside webhooks -------------------------------------------------------------------------------


def test_webhooks_and_health_are_answered_on_the_same_port_while_sessions_stream(
    meter: Meter, double: StreamingSandbox, loop: Loop
) -> None:
    with AssemblyAISandbox(latency=0) as transcripts:
        meter.configure(relayed(double.url, webhook=transcripts.base_url)).start()
        voices = [Voice(ws(meter.url), loop=loop, token=token("acme")) for _ in range(6)]
        for voice in voices:
            voice.connect()
        with httpx.Client(headers={"authorization": API_KEY}, trust_env=False) as api:
            for number in range(5):
                for voice in voices:
                    voice.speak(0.2)
                job = {"audio_url": f"https://recordings.example/{number}.mp3"}
                made = api.post(f"{transcripts.base_url}/v2/transcript", json=job).json()
                body = {"transcript_id": made["id"], "status": "completed"}
                assert meter.post("customer_id=globex", body).status_code == 200
                assert meter.get("/healthz").status_code == 200
                assert meter.get("/readyz").status_code == 200
        assert meter.get("/v3/ws").status_code in (400, 404, 426)
        assert len(double.live()) == len(voices)
        for voice in voices:
            voice.leave()
            assert voice.of("Termination")
        done = {"async_completed": 5, "stream_terminated": len(voices)}
        wait_until(lambda: meter.status()[1]["events"] == done, showing=meter.status)
        assert meter.stop() == 0
    assert len(in_journal(meter.folder)) == len(voices)
