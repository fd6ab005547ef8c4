"""One run of `relay.py`: a subject with N sessions, from its start to its books.

Arguments: the subject, N, the length of a window in seconds, how many windows. Each window is
printed as a line of JSON once it is over. Exit code 1, with the reason on standard error, when
something was lost: a session, its Termination, a frame, or an event in meter's journal.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Self

HERE: Final = Path(__file__).parent
METER: Final = "import sys; from meter.cli import main; sys.argv[0] = 'meter'; main()"
FRAMES_PER_SECOND: Final = 20
WARM_UP_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 60.0
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
PAGE_KB: Final = os.sysconf("SC_PAGE_SIZE") / 1024
SECRET: Final = "a-token-secret-of-the-usual-length-0123456789"
PIPELINES: Final = """
journal: meter.db
server: {{host: 127.0.0.1, port: {port}}}
collectors:
  live:
    type: streaming
    path: /v3/ws
    api_key: bench-key
    token_secret: {secret}
    upstream: "ws://127.0.0.1:{upstream}"
    max_sessions: 2000
sinks: {{ledger: {{type: sqlite, path: usage.db}}}}
pipelines: {{usage: {{from: [live], to: [ledger]}}}}
"""


class Failed(Exception):
    """What was measured is not what was claimed; the text says how."""


# -- processes -------------------------------------------------------------------------------


class Process:
    """A process of ours; leaving its `with` ends it."""

    def __init__(self, name: str, command: Sequence[str | Path], **options: Any) -> None:
        """Start it."""
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options
        )

    def __enter__(self) -> Self:
        """Be owned."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, whatever state it is in."""
        if self._process.poll() is None:
            self._process.kill()
        with self._process:
            pass

    def tell(self, line: str) -> None:
        """Write one line to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Return its next line of JSON."""
        stdout = self._process.stdout
        assert stdout is not None
        ready, _, _ = select.select([stdout], [], [], ANSWER_SECONDS)
        line = stdout.readline() if ready else b""
        if not line:
            raise Failed(f"{self.name} gave no answer")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Failed(f"{self.name}: {answer['error']}")
        return answer

    def ask(self, command: str) -> dict[str, Any]:
        """Tell, then hear."""
        self.tell(command)
        return self.hear()

    def terminate(self) -> None:
        """Ask it to end; it must end well."""
        self._process.terminate()
        try:
            code = self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} did not end within 30 s of SIGTERM") from None
        if code:
            raise Failed(f"{self.name} ended with {code}")

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self._process.poll() is not None

    @property
    def cpu_seconds(self) -> float:
        """What all its threads have used, in user and kernel mode."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    @property
    def resident_kb(self) -> float:
        """Its resident memory, in KiB."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * PAGE_KB


@contextlib.contextmanager
def started_meter(folder: Path, upstream: int) -> Iterator[tuple[Process, int]]:
    """Run meter in a folder; yield it, and its port, once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = PIPELINES.format(port=port, secret=SECRET, upstream=upstream)
    (folder / "pipelines.yaml").write_text(text)
    log = folder / "run.log"
    command = ["-c", METER, "run", "pipelines.yaml", "--log-level", "error"]
    environ = {name: text for name, text in os.environ.items() if "proxy" not in name.lower()}
    with log.open("wb") as stderr:
        process = Process("meter", command, cwd=folder, env=environ, stderr=stderr)
    with process:
        try:
            deadline = time.monotonic() + 20
            while not answers(port):
                if process.ended or time.monotonic() > deadline:
                    raise Failed("meter does not answer on its port")
                time.sleep(0.05)
            yield process, port
            process.terminate()
        except Failed as error:
            raise Failed(f"{error}\n{log.read_text()[-4000:]}") from None


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError):
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    return False


def customer(number: int) -> str:
    return f"customer-{number}"


def tokens(count: int) -> list[str]:
    """Return a token for each session."""
    import jwt  # meter's own dependency; raw and direct do without

    now = int(time.time())
    return [
        jwt.encode(
            {
                "aud": "live",
                "sub": customer(number),
                "iat": now,
                "exp": now + 600,
                "jti": uuid.uuid4().hex,
            },
            SECRET,
            algorithm="HS256",
        )
        for number in range(count)
    ]


# -- one run ---------------------------------------------------------------------------------


def run(subject: str, sessions: int, seconds: float, windows: int) -> Iterator[dict[str, Any]]:
    """Run one subject with N sessions; yield each window, then check what became of all."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meter-benchmark-")))
        upstream = stack.enter_context(Process("upstream", [HERE / "relay_upstream.py"]))
        port = upstream_port = upstream.hear()["port"]
        relay: Process | None = None
        authorizations = [customer(number) for number in range(sessions + 1)]
        with contextlib.ExitStack() as relaying:
            if subject == "raw":
                relay = relaying.enter_context(
                    Process("raw", [HERE / "relay_raw.py", str(upstream_port)])
                )
                port = relay.hear()["port"]
            elif subject == "meter":
                authorizations = tokens(sessions + 1)
                relay, port = relaying.enter_context(started_meter(folder, upstream_port))
            load = relaying.enter_context(Process("load", [HERE / "relay_load.py"]))
            path = "/v3/ws?sample_rate=16000"
            load.tell(json.dumps({"port": port, "path": path, "authorizations": authorizations}))
            load.ask("prime")
            time.sleep(0.3)
            empty_kb = relay.resident_kb if relay else 0.0
            load.ask("connect")
            time.sleep(WARM_UP_SECONDS)
            for _ in range(windows):
                yield measured(subject, sessions, seconds, empty_kb, (upstream, relay, load))
            ours, theirs = load.ask("end"), upstream.ask("report")
            compare(subject, sessions, ours, theirs)
        if subject == "meter":
            check_journal(folder / "meter.db", ours)


def measured(
    subject: str,
    sessions: int,
    seconds: float,
    empty_kb: float,
    processes: tuple[Process, Process | None, Process],
) -> dict[str, Any]:
    upstream, relay, load = processes

    def used() -> list[float]:
        return [process.cpu_seconds if process else 0.0 for process in processes]

    upstream.ask("start")
    before, began = used(), time.monotonic()
    before_kb = relay.resident_kb if relay else 0.0
    time.sleep(seconds)
    after, took = used(), time.monotonic() - began
    after_kb = relay.resident_kb if relay else 0.0
    delay = upstream.ask("stop")
    if load.ended or upstream.ended or (relay and relay.ended):
        raise Failed(f"{subject}: a process ended within the window")
    upstream_cpu, relay_cpu, load_cpu = (b - a for a, b in zip(before, after, strict=True))
    return {
        "subject": subject,
        "sessions": sessions,
        "frames_share": delay["frames"] / (sessions * FRAMES_PER_SECOND * took),
        "p50_ms": delay["p50"],
        "p99_ms": delay["p99"],
        "cpu_ms": relay_cpu / took / sessions * 1000,
        "resident_kb": after_kb,
        "session_kb": (after_kb - empty_kb) / sessions,
        "growth_kb": after_kb - before_kb,
        "load_cpu": load_cpu / took,
        "upstream_cpu": upstream_cpu / took,
    }


def compare(subject: str, sessions: int, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Fail unless both ends saw the same sessions, frames and seconds, each to its end."""
    wrong: Counter[str] = Counter()
    for session_id in ours.keys() | theirs.keys():
        mine, other = ours.get(session_id), theirs.get(session_id)
        if mine is None or other is None:
            wrong["sessions known to one end only"] += 1
            continue
        wrong["sessions without their Termination"] += mine["seconds"] is None
        wrong["sessions told other seconds"] += mine["seconds"] != other["seconds"]
        wrong["sessions not closed with 1000"] += mine["close"] != 1000
        wrong["frames lost"] += max(0, mine["frames"] - other["frames"])
        wrong["frames too many"] += max(0, other["frames"] - mine["frames"])
        wrong["frames of another kind"] += other["odd"]
    wrong["sessions missing"] = sessions + 1 - len(ours)
    if faults := {what: count for what, count in wrong.items() if count}:
        raise Failed(f"{subject} with {sessions} sessions: {faults}")


def check_journal(path: Path, ours: dict[str, Any]) -> None:
    """Fail unless the journal holds each session's end, once, and nothing else."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        bodies = [json.loads(body) for (body,) in connection.execute("SELECT body FROM events")]
    found = Counter(
        (b["kind"], b["provider_id"], b["customer_id"], b.get("seconds")) for b in bodies
    )
    wanted = Counter(
        ("stream_terminated", session_id, customer(session["number"]), session["seconds"])
        for session_id, session in ours.items()
    )
    if found != wanted:
        missing, more = wanted - found, found - wanted
        raise Failed(
            f"the journal lacks {missing.total()} of {wanted.total()} sessions, and holds "
            f"{more.total()} events that it should not: {list(missing)[:2]} {list(more)[:2]}"
        )


def main() -> int:
    subject, sessions, seconds, windows = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))  # so that processes are ended
    try:
        for window in run(subject, int(sessions), float(seconds), int(windows)):
            print(json.dumps(window), flush=True)
    except Failed as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
