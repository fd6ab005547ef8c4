"""The real `meter` command in a folder of its own: configured, started, ended, read back."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

COMMAND = Path(sys.executable).with_name("meter")
API_KEY = "k3y-of-the-acceptance-tests"
SECRET = "s3cret-of-the-acceptance-tests"
HEADER = "X-Meter-Secret"
HOOK = "/webhooks/assemblyai"
LOCAL = "127.0.0.1,localhost"


def pipelines(
    base_url: str = "http://127.0.0.1:9",
    *,
    port: int = 0,
    every: str = "1h",
    lookback: str = "24h",
    server: Mapping[str, Any] | None = None,
    collectors: Mapping[str, Any] | None = None,
    sinks: Mapping[str, Any] | None = None,
    export: str = "exports/usage-{month}.csv",
) -> dict[str, Any]:
    """Return a pipelines file: transcripts to `ledger` and `export`, and what is added."""
    webhook = {
        "type": "webhook",
        "path": HOOK,
        "api_key": "${ASSEMBLYAI_API_KEY}",
        "secret": "${METER_WEBHOOK_SECRET}",
        "base_url": base_url,
        "backfill": {"every": every, "lookback": lookback},
    }
    sources = dict(collectors) if collectors is not None else {"transcripts": webhook}
    destinations = {
        "ledger": {"type": "sqlite", "path": "usage.db"},
        "export": {"type": "csv", "path": export},
        **(sinks or {}),
    }
    return {
        "journal": "meter.db",
        "server": {"host": "127.0.0.1", "port": port, **(server or {})},
        "collectors": sources,
        "sinks": destinations,
        "pipelines": {"usage": {"from": list(sources), "to": list(destinations)}},
    }


class Meter:
    """One pipelines file and the processes that run it, one after the other.

    Standard error is kept in `run.log`, over all of them. `packages` goes on PYTHONPATH.
    """

    def __init__(self, folder: Path, *, packages: Path | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.file = folder / "pipelines.yaml"
        self.log = folder / "run.log"
        self.log.touch()
        self.url = ""
        proxies = {"http_proxy", "https_proxy", "all_proxy", "pythonpath"}
        self._environ = {
            **{name: text for name, text in os.environ.items() if name.lower() not in proxies},
            "NO_PROXY": LOCAL,
            "no_proxy": LOCAL,
            "ASSEMBLYAI_API_KEY": API_KEY,
            "METER_WEBHOOK_SECRET": SECRET,
        }
        if packages is not None:
            self._environ["PYTHONPATH"] = str(packages)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0

    def configure(self, config: Mapping[str, Any]) -> Self:
        self.file.write_text(yaml.safe_dump(dict(config), allow_unicode=True, sort_keys=False))
        return self

    # -- a command that ends by itself -------------------------------------------------------

    def command(
        self, *arguments: str, stdin: bytes = b"", seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run `meter` with these arguments to its end, beside whatever else runs."""
        done = subprocess.run(
            [COMMAND, *arguments],
            cwd=self.folder,
            env=self._environ,
            input=stdin,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def once(self, *, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        return self.command("run", "--once", "pipelines.yaml", stdin=stdin)

    def status(self) -> tuple[int, Any]:
        """Return the exit code of `meter status --json`, and what it printed."""
        done = self.command("status", "--json", "pipelines.yaml")
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    # -- a run ---------------------------------------------------------------------------------

    def spawn(self, *arguments: str) -> Self:
        """Start `meter run` and return at once."""
        assert self._process is None, "it runs already"
        self._started_at = self.log.stat().st_size
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [COMMAND, "run", "pipelines.yaml", *arguments],
                cwd=self.folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        return self

    def start(self) -> Self:
        """Start `meter run` and return once a webhook would be stored."""
        return self.spawn().wait_ready()

    def wait_ready(self) -> Self:
        wait_until(self._has_an_address, unless=self._ended)
        wait_until(self.is_ready, unless=self._ended)
        return self

    def is_ready(self) -> bool:
        try:
            return self.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    @property
    def pid(self) -> int:
        assert self._process is not None, "it does not run"
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Wait for the process to end; answer its exit code."""
        assert self._process is not None, "it does not run"
        code = self._process.wait(seconds)
        self._process = None
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM, *, seconds: float = 20) -> int:
        """Ask it to end; answer its exit code. The default is what DESIGN §7 promises."""
        self.send(number)
        return self.wait(seconds)

    def kill(self) -> None:
        """`kill -9`; harmless when nothing runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    # -- talking to it, and reading what it left ---------------------------------------------------

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, trust_env=False, timeout=30)

    def post(self, query: str, body: Any, *, secret: str | None = SECRET) -> httpx.Response:
        """Deliver a webhook as AssemblyAI does; text and bytes are sent as they are."""
        content = body if isinstance(body, str | bytes) else json.dumps(body)
        headers = {"content-type": "application/json"}
        if secret is not None:
            headers[HEADER] = secret
        url = f"{self.url}{HOOK}?{query}"
        return httpx.post(url, content=content, headers=headers, trust_env=False, timeout=30)

    def logs(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the log lines so far, over all runs; every line must be JSON."""
        text = self.log.read_text()
        lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return [line for line in lines if event in {None, line["event"]}]

    def _has_an_address(self) -> bool:
        with self.log.open("rb") as log:
            log.seek(self._started_at)
            for line in log:
                if line.endswith(b"\n") and b'"run.started"' in line:
                    self.url = json.loads(line)["address"]
                    return True
        return False

    def _ended(self) -> str | None:
        if self.has_ended():
            return f"meter ended before it was ready:\n{self.log.read_text()[-4000:]}"
        return None


def wait_until(
    condition: Callable[[], object],
    *,
    seconds: float = 40,
    unless: Callable[[], str | None] = lambda: None,
    showing: Callable[[], object] = lambda: "",
) -> None:
    """Return when the condition holds; fail after the deadline, or as soon as `unless` says why."""
    deadline = time.monotonic() + seconds
    while not condition():
        why = unless()
        assert why is None, why
        assert time.monotonic() < deadline, f"not within {seconds} s; it stands at {showing()}"
        time.sleep(0.02)


def free_port() -> int:
    """Return a port that stays free over restarts: below those that the kernel hands out."""
    for _ in range(200):
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")
