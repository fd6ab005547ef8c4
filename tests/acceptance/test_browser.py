"""A page in a real browser streams through a real `meter run`; its usage is recorded exactly."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from acceptance.books import in_sqlite, rows
from acceptance.process import API_KEY, Meter, pipelines, wait_until
from meter.sandbox.streaming import StreamingSandbox

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(
        not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
        reason="there is no Chromium here; Debian's package is `chromium`",
    ),
]

PAGE = Path(__file__).with_name("page.html")
SECRET = "token-secret-of-the-browser-tests-0123456789"
PATIENCE_SECONDS = 60
FLAGS = (
    "--headless",
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-breakpad",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
)


class Site:
    """Serves the page, and takes what it reports."""

    def __init__(self) -> None:
        self.reports: queue.Queue[tuple[str, Any]] = queue.Queue()
        reports = self.reports

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = PAGE.read_bytes()
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                reports.put((self.path, json.loads(body)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
                del format, args

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def report(self, path: str) -> Any:
        """Wait for the page's next report, which must be of this kind."""
        given, told = self.reports.get(timeout=PATIENCE_SECONDS)
        assert given == path, (given, told)
        return told

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Browser:
    """A headless Chromium with one page, and a profile of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        names = ("chromium", "chromium-browser", "google-chrome")
        command = next(filter(None, map(shutil.which, names)))
        self._process = subprocess.Popen(
            [command, *FLAGS, f"--user-data-dir={folder}", "--remote-debugging-port=0", url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a group of its own, to be ended as a whole
        )

    def kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)


@pytest.fixture
def double() -> Iterator[StreamingSandbox]:
    with StreamingSandbox(keys=(API_KEY,)) as double:
        yield double


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.stop()


@pytest.fixture
def streaming(meter: Meter, double: StreamingSandbox) -> Meter:
    """A running meter with nothing but a relay."""
    live = {
        "type": "streaming",
        "api_key": API_KEY,
        "token_secret": SECRET,
        "upstream": double.url,
    }
    return meter.configure(pipelines(collectors={"live": live})).start()


@pytest.fixture
def browse(streaming: Meter, site: Site, tmp_path: Path) -> Iterator[Any]:
    started: list[Browser] = []

    def browse(*, chunks: int, **claims: Any) -> Browser:
        given = {
            "aud": "live",
            "sub": "Müller & Söhne",
            "exp": int(time.time()) + 60,
            "jti": "1",
            "single_use": True,
            "dimensions": {"page": "in a browser"},
            **claims,
        }
        query = urlencode(
            {"token": jwt.encode(given, SECRET, algorithm="HS256"), "sample_rate": 16000}
        )
        socket = f"{streaming.url.replace('http', 'ws', 1)}/v3/ws?{query}"
        page = f"{site.url}/?{urlencode({'socket': socket, 'chunks': chunks})}"
        started.append(Browser(tmp_path / f"browser{len(started)}", page))
        return started[-1]

    yield browse
    for browser in started:
        browser.kill()


def assert_recorded_as_in_the_providers_books(meter: Meter, double: StreamingSandbox) -> None:
    usage_db = meter.folder / "usage.db"
    wait_until(lambda: usage_db.exists() and in_sqlite(usage_db))
    (truth,), (usage,) = double.truth(), in_sqlite(usage_db)
    assert truth.termination_sent
    assert usage.event_id == f"assemblyai:session:{truth.session_id}"
    assert usage.customer_id == "Müller & Söhne"
    assert json.loads(usage.dimensions) == {"page": "in a browser"}
    assert usage.seconds == truth.session_seconds
    (audio,) = rows(usage_db, "SELECT audio_seconds FROM usage")
    assert audio == (str(truth.audio_seconds),)
    # Neither who it was nor what let it in reached the provider.
    assert "token" not in truth.params
    assert "Müller" not in str((truth.query, truth.headers))


def test_a_page_streams_through_the_relay_and_its_usage_is_recorded(
    streaming: Meter, double: StreamingSandbox, site: Site, browse: Any
) -> None:
    browse(chunks=15)
    site.report("/streaming")
    seen = site.report("/closed")
    kinds = [message["type"] for message in seen["messages"]]
    assert (kinds[0], kinds[-1]) == ("Begin", "Termination")
    assert "Turn" in kinds
    assert "Heartbeat" not in kinds
    assert (seen["code"], seen["clean"], seen["extensions"]) == (1000, True, "")
    (truth,) = double.truth()
    assert truth.session_id == seen["messages"][0]["id"]
    assert (truth.audio_frames, truth.audio_bytes) == (15, 15 * 3200)
    assert seen["messages"][-1]["session_duration_seconds"] == truth.session_seconds
    assert_recorded_as_in_the_providers_books(streaming, double)


def test_a_page_whose_browser_is_killed_is_terminated_and_its_usage_recorded(
    streaming: Meter, double: StreamingSandbox, site: Site, browse: Any
) -> None:
    browser = browse(chunks=10_000)
    site.report("/streaming")
    assert double.live()
    browser.kill()
    assert_recorded_as_in_the_providers_books(streaming, double)
    assert double.truth()[0].ended == "terminated"
    assert double.truth()[0].messages["Terminate"] == 1


def test_a_page_with_a_token_that_is_no_longer_good_is_told_1008(
    double: StreamingSandbox, site: Site, browse: Any
) -> None:
    browse(chunks=15, exp=int(time.time()) - 1)
    seen = site.report("/closed")
    assert [message["type"] for message in seen["messages"]] == ["Error"]
    assert (seen["code"], seen["clean"]) == (1008, True)
    assert seen["reason"] == "Unauthorized Connection: the token has expired"
    assert double.truth() == []
