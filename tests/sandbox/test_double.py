"""The running server: starts and stops cleanly everywhere, repeats itself, and tells the truth."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.request import ProxyHandler, Request, build_opener

import assemblyai as aai
import httpx
import pytest

from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import Faults, JobPlan
from meter.sandbox.webhooks import WebhookRules
from sandbox.conftest import Api
from sandbox.receiver import HANG, Receiver, eventually


def test_the_real_sdk_submits_and_reads_the_raw_document(
    double: AssemblyAISandbox, receiver: Receiver
) -> None:
    settings = aai.Settings(api_key="k", base_url=double.base_url)
    client = aai.Client(settings=settings)
    with client.http_client as http:
        config = aai.TranscriptionConfig(speaker_labels=True).set_webhook(
            f"{receiver.url}?customer_id=acme", "X-Meter-Secret", "s3cret"
        )
        submitted = aai.Transcriber(client=client).submit("https://a.example/1.mp3", config=config)
        eventually(lambda: len(receiver.received) == 1)
        document = http.get(f"/v2/transcript/{submitted.id}").json()
        listed = aai.Transcriber(client=client).list_transcripts()
    assert document["status"] == "completed"
    assert document["speaker_labels"] is True
    assert document["webhook_url"] == f"{receiver.url}?customer_id=acme"
    assert document["audio_duration"] == double.truth()[0].seconds
    assert [item.id for item in listed.transcripts] == [submitted.id]


def test_async_code_starts_it_and_reads_through_the_async_sdk() -> None:
    async def scenario() -> int:
        async with AssemblyAISandbox() as double:
            settings = aai.Settings(api_key="k", base_url=double.base_url)
            async with aai.AsyncClient(settings=settings).http_client as http:
                answer = await http.get("/v2/transcript")
                return answer.status_code

    assert asyncio.run(scenario()) == 200


def test_two_doubles_run_side_by_side_and_share_nothing() -> None:
    with AssemblyAISandbox() as one, AssemblyAISandbox() as two:
        assert one.base_url != two.base_url
        headers = {"authorization": "k"}
        body = {"audio_url": "https://audio.example/a.mp3"}
        httpx.post(f"{one.base_url}/v2/transcript", json=body, headers=headers, trust_env=False)
        assert (len(one.truth()), len(two.truth())) == (1, 0)


def test_stop_is_prompt_and_cancels_what_is_under_way(receiver: Receiver) -> None:
    receiver.answers.extend([HANG, 503])
    threads = set(threading.enumerate())
    double = AssemblyAISandbox(latency=0, rules=WebhookRules(), faults=Faults(get_slow=1))
    with ThreadPoolExecutor(1) as pool:
        double.start()
        url = f"{double.base_url}/v2/transcript"
        for name in ("hangs", "waits"):
            body = {"audio_url": f"https://audio.example/{name}", "webhook_url": receiver.url}
            httpx.post(url, json=body, headers={"authorization": "k"}, trust_env=False)
        slow = pool.submit(
            httpx.get, url, headers={"authorization": "k"}, trust_env=False, timeout=30
        )
        eventually(lambda: len(receiver.received) == 2)
        began = time.monotonic()
        double.stop()
        assert time.monotonic() - began < 2
        assert slow.exception(5) is None or isinstance(slow.exception(), httpx.TransportError)
    assert len(double.truth()) == 2, "the ledger outlives the server"
    # The receiver's handler of the delivery that hangs stays until the receiver stops.
    assert not [t for t in set(threading.enumerate()) - threads if "sandbox" in t.name]
    double.stop()


def test_misuse_is_told_plainly() -> None:
    double = AssemblyAISandbox()
    with pytest.raises(RuntimeError, match="before start"):
        _ = double.base_url
    with pytest.raises(RuntimeError, match="does not run"):
        double.finish("x")
    double.stop()
    with double:
        port = int(double.base_url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            AssemblyAISandbox(port=port).start()
        with pytest.raises(RuntimeError, match="starts once"):
            double.start()


def ledger(seed: int, numbers: list[int]) -> dict[str, tuple[object, ...]]:
    """Submit the jobs from several threads and return what each audio URL became."""
    faults = Faults(failed_jobs=0.3, duration_fractional=0.3, unknown_model=0.2)
    with (
        AssemblyAISandbox(latency=0, seed=seed, faults=faults) as double,
        httpx.Client(
            base_url=double.base_url, headers={"authorization": "k"}, trust_env=False
        ) as http,
        ThreadPoolExecutor(4) as pool,
    ):
        urls = [f"https://audio.example/{number}.mp3" for number in numbers]
        ids = dict(zip(urls, pool.map(lambda url: Api(http).submit(url)["id"], urls), strict=True))
        eventually(lambda: all(row.status in {"completed", "error"} for row in double.truth()))
        rows = {row.transcript_id: row for row in double.truth()}
    return {
        url: (i, rows[i].status, rows[i].seconds, rows[i].speech_model_used)
        for url, i in ids.items()
    }


def test_a_seed_repeats_every_job_in_any_order() -> None:
    numbers = list(range(30))
    first = ledger(3, numbers)
    assert first == ledger(3, numbers[::-1])
    assert first != ledger(4, numbers)
    assert len({row[0] for row in first.values()}) == 30


def test_the_same_audio_twice_is_two_transcripts(double: AssemblyAISandbox, api: Api) -> None:
    assert api.submit()["id"] != api.submit()["id"]
    assert len(double.truth()) == 2


def test_the_ledger_adds_up_to_what_get_shows(
    double: AssemblyAISandbox, api: Api, receiver: Receiver
) -> None:
    double.faults = Faults(failed_jobs=0.2, webhook_twice=0.2, webhook_lost=0.2)
    double.plan_next(JobPlan(latency_seconds=3600))
    for number in range(25):
        api.submit(f"https://audio.example/{number}.mp3", webhook_url=f"{receiver.url}?n={number}")
    eventually(lambda: sum(row.status in {"completed", "error"} for row in double.truth()) == 24)
    rows = double.truth()
    assert rows[0].seconds is None
    for number, row in enumerate(rows):
        document = api.get(row.transcript_id)
        assert (row.status, row.key) == (document["status"], "key-a")
        assert row.webhook_url == document["webhook_url"] == f"{receiver.url}?n={number}"
        assert row.seconds == document["audio_duration"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_announces_itself_and_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    program = (
        "from meter.sandbox.faults import Faults\n"
        "from meter.sandbox.serve import serve\n"
        "serve(host='127.0.0.1', port=0, streaming_port=0, stripe_port=0,\n"
        "      keys=('k1',), faults=Faults(), latency=0.1, seed=1,\n"
        "      announce=lambda line: print(line, flush=True))\n"
        "print('stopped')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(7)]
        request = Request(f"{lines[0]}/v2/transcript", headers={"Authorization": "k1"})
        with build_opener(ProxyHandler({})).open(request, timeout=5) as answer:
            assert answer.status == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "stopped\n", "")
    assert lines[1] == "import assemblyai as aai"
    assert f'"{lines[0]}", "k1"' in lines[2]
    assert lines[3] == "from assemblyai.streaming.v3 import StreamingClientOptions"
    assert lines[4].startswith('StreamingClientOptions(api_host="ws://127.0.0.1:')
    assert lines[5] == "from stripe import StripeClient"
    assert lines[6].startswith('StripeClient("sk_test_sandbox", base_addresses={"api": "http://')
