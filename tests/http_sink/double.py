"""A destination on a real socket: it answers as a test says, and keeps what it was sent."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        """The body, with numbers as the exact decimals that stand in it."""
        plain = gzip.decompress(self.body) if "content-encoding" in self.headers else self.body
        return json.loads(plain, parse_float=Decimal)


@dataclass(frozen=True, slots=True)
class Said:
    """One answer; with `cut`, the connection ends before a byte of it."""

    status: int = 204
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False

    @classmethod
    def of(cls, status: int, document: Any, **headers: str) -> Said:
        return cls(status, json.dumps(document).encode(), headers)


Answering = Callable[[Asked], Said]


class Destination:
    """Serves one `Answering` on a port of its own; `asked` has every POST in order."""

    def __init__(self, answering: Answering = lambda _asked: Said()) -> None:
        self.answering = answering
        self.asked: list[Asked] = []
        self.others: list[Asked] = []
        self.url = ""
        self.port = 0

    def take(self, asked: Asked) -> Said:
        (self.asked if asked.method == "POST" else self.others).append(asked)
        return self.answering(asked)

    @contextmanager
    def serving(self, port: int = 0) -> Iterator[Destination]:
        """Listen until the block ends."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _serve(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                asked = Asked(
                    self.command,
                    self.path,
                    {name.lower(): text for name, text in self.headers.items()},
                    self.rfile.read(length),
                    self.client_address[1],
                )
                said = outer.take(asked)
                if said.cut:
                    self.close_connection = True
                    return
                self.send_response(said.status)
                for name, text in said.headers.items():
                    self.send_header(name, text)
                self.send_header("content-length", str(len(said.body)))
                self.end_headers()
                self.wfile.write(said.body)

            do_POST = do_GET = do_OPTIONS = _serve  # noqa: N815  because the base class looks for these names

            def log_message(self, *_arguments: Any) -> None:
                """Say nothing on stderr."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_arguments: Any) -> None:
                """Let clients go away in the middle, as clients do."""

        server = Server(("127.0.0.1", port), Handler)
        self.port = server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
