"""The streaming double as a running server, in a thread of its own."""

import asyncio
import logging
import socket
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import TypeVar

from websockets.asyncio.server import Server, serve
from websockets.frames import Close

from meter.sandbox.local_server import BACKLOG, LocalServer
from meter.sandbox.stream_access import StreamAccess
from meter.sandbox.stream_books import StreamTruth
from meter.sandbox.stream_clock import StreamClock
from meter.sandbox.stream_door import StreamConnection, StreamDoor
from meter.sandbox.stream_plans import StreamFaults, StreamPlan
from meter.sandbox.stream_session import StreamRules

T = TypeVar("T")

CLOSE_SECONDS = 5.0
"""How long a client has to answer a close, before its connection is aborted."""
STOP_CHECK_SECONDS = 0.02

# Outside the tree of loggers: at debug, websockets writes keys and tokens.
_ERRORS = logging.Logger(__name__, logging.ERROR)  # noqa: LOG001 - because it must have no parent


class StreamingSandbox(LocalServer):
    """AssemblyAI's streaming v3 on a local port: stateful, honest, and faulty only where asked.

    Point the SDK at it with `StreamingClientOptions(api_host=double.url, api_key=…)`. Use it as a
    context manager, or call `start` and `stop`. It runs in its own thread with its own event loop,
    so it serves synchronous and asynchronous callers of the same process alike. Everything is in
    memory; it starts once, and after `stop` its books can still be read.

    Args:
        host: The address to listen on.
        port: The port; 0 takes a free one, see `url`.
        keys: The API keys that are accepted; none given accepts any key without a space.
        seed: The same seed gives the same session ids and faults, in the order of connections.
        max_session_seconds: After so many of the provider's seconds a session expires.
        heartbeat_seconds: Between heartbeats, seconds of the wall clock.
        turn_seconds: A Turn comes with every so many seconds of received audio.
        ahead_seconds: Audio may be so far ahead of the provider's clock and no further.
        time_scale: How many of the provider's seconds pass in one of the wall clock. What is
            billed and what expires is in the provider's seconds: sessions and their
            `expires_at`, tokens, `inactivity_timeout`.
        max_sessions: How many sessions a key may have open at once; None is no limit.
        faults: What goes wrong; may be changed at any time through the attribute `faults`.
    """

    def __init__(  # noqa: PLR0913 - independent settings, keyword-only, all with defaults
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keys: Collection[str] = (),
        seed: int = 1,
        max_session_seconds: float = 10800,
        heartbeat_seconds: float = 1.0,
        turn_seconds: float = 1.0,
        ahead_seconds: float = 10.0,
        time_scale: float = 1.0,
        max_sessions: int | None = None,
        faults: StreamFaults | None = None,
    ) -> None:
        clock = StreamClock(time_scale=time_scale)
        super().__init__("streaming sandbox", host=host, port=port)
        self._door = StreamDoor(
            access=StreamAccess(keys=keys, clock=clock),
            rules=StreamRules(
                max_session_seconds=max_session_seconds,
                heartbeat_seconds=heartbeat_seconds,
                turn_seconds=turn_seconds,
                ahead_seconds=ahead_seconds,
            ),
            clock=clock,
            seed=seed,
            max_sessions=max_sessions,
            faults=faults or StreamFaults(),
        )

    @property
    def url(self) -> str:
        """Where it listens, as the SDK's `api_host` wants it.

        Raises:
            RuntimeError: It was not started.
        """
        return f"ws://{self.address}"

    @property
    def http_url(self) -> str:
        """Where it listens, for `GET /v3/token`.

        Raises:
            RuntimeError: It was not started.
        """
        return f"http://{self.address}"

    @property
    def faults(self) -> StreamFaults:
        """What goes wrong from now on; assign to change it."""
        return self._door.faults

    @faults.setter
    def faults(self, faults: StreamFaults) -> None:
        self._door.faults = faults

    def plan_next(self, *plans: StreamPlan) -> None:
        """Say what happens to the next connections, in order; later ones are honest.

        Every WebSocket handshake takes one plan, those of a client that tries again included.
        """
        self._door.plans.extend(plans)

    def truth(self) -> list[StreamTruth]:
        """Return what a perfect meter must know, oldest session first; from any thread."""
        return self._door.truth()

    def live(self) -> list[str]:
        """Return the ids of the open sessions, oldest first; from any thread."""
        return self._door.live()

    def cut(self, session_id: str) -> None:
        """Abort a session's TCP connection, without a close frame; `truth` knows at once.

        Raises:
            KeyError: There is no such open session.
            RuntimeError: The sandbox does not run.
        """
        self._in_loop(lambda: self._door.session(session_id).cut())

    def error(self, session_id: str, code: int, text: str) -> None:
        """Send an Error and close with its code, without a Termination; `truth` knows at once.

        Raises:
            KeyError: There is no such open session.
            RuntimeError: The sandbox does not run.
            websockets.exceptions.ProtocolError: No close frame may carry `code`.
        """
        Close(code, "").check()
        self._in_loop(lambda: self._door.session(session_id).fail(code, text))

    def expire(self, session_id: str) -> None:
        """End a session as if its time were up; `truth` knows at once.

        Raises:
            KeyError: There is no such open session.
            RuntimeError: The sandbox does not run.
        """
        self._in_loop(lambda: self._door.session(session_id).expire())

    def _in_loop(self, act: Callable[[], T]) -> T:
        """Do something in the double's own loop and wait until it is done."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            raise RuntimeError("the streaming sandbox does not run")
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(act())
            except Exception as error:  # noqa: BLE001 - raised in the caller's thread instead
                done.set_exception(error)

        loop.call_soon_threadsafe(run)
        return done.result(timeout=CLOSE_SECONDS)

    async def _serve(
        self, listener: socket.socket, started: Future[None], stopping: asyncio.Event
    ) -> None:
        connections: set[StreamConnection] = set()

        class Connection(StreamConnection):
            """A connection that can be found when the double stops, before its handshake too."""

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                connections.add(self)

            def connection_lost(self, exc: Exception | None) -> None:
                connections.discard(self)
                super().connection_lost(exc)

        server = await serve(
            self._door.serve,
            sock=listener,
            process_request=self._door.answer,
            create_connection=Connection,
            compression=None,
            open_timeout=None,
            ping_interval=None,
            close_timeout=CLOSE_SECONDS,
            backlog=BACKLOG,
            logger=_ERRORS,
        )
        started.set_result(None)
        await stopping.wait()
        await _close(server, self._door, connections)
        if self._door.failures:
            raise ExceptionGroup("the streaming sandbox failed", self._door.failures)


async def _close(
    server: Server, door: StreamDoor, connections: Collection[StreamConnection]
) -> None:
    """Close the server without waiting for any client, whatever state it is in."""
    server.close(close_connections=False)
    closed = asyncio.create_task(server.wait_closed())
    while not closed.done():
        door.cut_everybody()
        for connection in list(connections):
            connection.transport.abort()
        await asyncio.wait([closed], timeout=STOP_CHECK_SECONDS)
