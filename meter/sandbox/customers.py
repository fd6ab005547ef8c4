"""Simulated customers, and the jobs that they submit through the real `assemblyai` SDK."""

import dataclasses
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from random import Random
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import assemblyai as aai

from meter.sandbox.outcome import seeded_chance

SUBMITTING_THREADS = 8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """Somebody who is billed: an id as real ones are, and the projects they work on."""

    customer_id: str
    project_ids: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """One job that AssemblyAI took, and whose it is."""

    transcript_id: str
    customer_id: str
    project_id: str
    audio_url: str
    webhook_url: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """A job before its submission."""

    customer_id: str
    project_id: str
    audio_url: str
    webhook_url: str
    options: Mapping[str, Any]


CUSTOMERS: tuple[Customer, ...] = (
    Customer(customer_id="acme", project_ids=("support", "sales")),
    Customer(customer_id="globex", project_ids=("podcasts",)),
    Customer(customer_id="initech", project_ids=("meetings", "interviews", "archive")),
    Customer(customer_id="umbrella-health", project_ids=("dictation",)),
    Customer(customer_id="007", project_ids=("field notes",)),
    Customer(customer_id="cus_8f14e45fceea167a", project_ids=("default",)),
    Customer(customer_id="42", project_ids=("7", "8")),
    Customer(customer_id="Müller & Söhne", project_ids=("Anrufe", "Aufträge")),
    Customer(customer_id="sara+billing@example.com", project_ids=("voice=mail",)),
    Customer(customer_id="日本電話 東京", project_ids=("会議",)),
)
"""Ten customers; the awkward ids are what real ones look like, and must come through unchanged."""

OPTIONS: tuple[Mapping[str, Any], ...] = tuple(
    MappingProxyType(options)
    for options in (
        {},
        {"speaker_labels": True},
        {"speech_models": ["universal-3-5-pro", "universal-2"]},
        {"speech_models": ["universal-2"], "language_detection": True},
        {"entity_detection": True, "sentiment_analysis": True},
        {"multichannel": True},
        {"language_code": "de", "auto_highlights": True},
        {
            "redact_pii": True,
            "redact_pii_audio": True,
            "redact_pii_policies": [aai.PIIRedactionPolicy.person_name],
        },
    )
)
"""What jobs ask for; each is drawn as often as the others."""


def submit_jobs(  # noqa: PLR0913 - the settings of one run, keyword-only
    *,
    base_url: str,
    api_key: str,
    webhook_url: str,
    secret_header: str,
    secret: str,
    jobs: int,
    seed: int,
    on_progress: Callable[[int, int], None],
) -> list[Submitted]:
    """Submit `jobs` jobs of the simulated customers and return them in the order drawn.

    The customer and the project go into the webhook URL's query, URL-encoded; `secret` goes into
    the header named `secret_header`. The same seed submits the same jobs. `on_progress(done,
    total)` is called in this thread, once a job. It does not wait for any transcript, and never
    touches `aai.settings`. The SDK obeys proxy variables: set `NO_PROXY=127.0.0.1` where a proxy
    is configured.

    Raises:
        assemblyai.TranscriptError: A submission was refused; jobs submitted before it stand.
        httpx.TransportError: Nobody answers at `base_url`.
    """
    chance = seeded_chance(seed, "customers")
    orders = [_draw_order(number, seed, webhook_url, chance) for number in range(jobs)]
    settings = aai.Settings(api_key=api_key, base_url=base_url)
    client = aai.Client(settings=settings)
    transcriber = aai.Transcriber(client=client)

    def submit(order: _Order) -> str:
        config = aai.TranscriptionConfig(**order.options).set_webhook(
            order.webhook_url, secret_header, secret
        )
        transcript_id = transcriber.submit(order.audio_url, config=config).id
        if transcript_id is None:
            raise RuntimeError(f"{base_url} took a job and gave it no id")
        return transcript_id

    # Closing the client's own connections is all there is to close.
    with client.http_client:
        pool = ThreadPoolExecutor(SUBMITTING_THREADS, thread_name_prefix="customer")
        try:
            ids = [pool.submit(submit, order) for order in orders]
            for done, future in enumerate(as_completed(ids), start=1):
                future.result()
                on_progress(done, jobs)
        finally:
            pool.shutdown(cancel_futures=True)
    return [
        Submitted(
            transcript_id=future.result(),
            customer_id=order.customer_id,
            project_id=order.project_id,
            audio_url=order.audio_url,
            webhook_url=order.webhook_url,
        )
        for future, order in zip(ids, orders, strict=True)
    ]


def _draw_order(number: int, seed: int, webhook_url: str, chance: Random) -> _Order:
    customer = chance.choice(CUSTOMERS)
    project_id = chance.choice(customer.project_ids)
    query = urlencode({"customer_id": customer.customer_id, "project_id": project_id})
    return _Order(
        customer_id=customer.customer_id,
        project_id=project_id,
        # A URL of its own for each job: the double derives the audio's length from it.
        audio_url=f"https://recordings.example/{seed}/{number:06d}.mp3",
        webhook_url=f"{webhook_url}{'&' if '?' in webhook_url else '?'}{query}",
        options=chance.choice(OPTIONS),
    )
