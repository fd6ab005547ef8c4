"""A webhook receiver on a real socket, told beforehand how to answer."""

import dataclasses
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    path: str
    headers: dict[str, str]
    body: Any
    at: float


HANG = 0
"""In place of a status code: no answer until the receiver stops."""


class Receiver:
    """Answers 200, or what `answers` holds next; keeps every request."""

    def __init__(self, *answers: int) -> None:
        self.received: list[Received] = []
        self.answers = deque(answers)
        self._stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        # A short poll: `shutdown` waits for it.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.received.append(
                    Received(
                        path=self.path,
                        headers={name.lower(): text for name, text in self.headers.items()},
                        body=json.loads(body),
                        at=time.monotonic(),
                    )
                )
                answer = receiver.answers.popleft() if receiver.answers else 200
                if answer == HANG:
                    receiver._stopping.wait()
                    return
                self.send_response(answer)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  because the name is the standard library's
                pass

        return Handler


def eventually(condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
    """Return when the condition holds; fail after the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the deadline passed first"
        time.sleep(0.005)
