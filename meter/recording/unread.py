"""A Termination that arrived, and that the SDK will not read any more.

After an `Error` frame, and after a message that its models refuse, the SDK reads no further. What
the provider sent before the closing handshake was over lies in the WebSocket's buffer then. It is
read from there once the connection is closed and the SDK has let go of it: with websockets'
public `recv`, on the recorder's thread, so that the user's threads and loops notice nothing.
The provider's answer to the closing frame is the last that is read: what it sends after that, a
round trip after its Error, is lost to a tap; meter later shows the session with its bounds.

Source: observed with assemblyai 1.8.2 and websockets 17.4 (tests/recording/test_traps.py).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

__all__ = ["Unread"]

SOON_SECONDS: Final = 15.0
"""websockets gives a closing handshake 10 s."""
LONGEST_SECONDS: Final = 3 * 3600.0
"""No session is longer."""
MOST_MESSAGES: Final = 10_000


class Unread:
    """What a closed connection may still hold.

    It keeps the connection's object alive until then, never the SDK's client.
    """

    def __init__(
        self,
        websocket: Any,
        *,
        reading: Callable[[], bool],
        feed: Callable[[str | bytes], None],
        now: float,
        failed: bool,
    ) -> None:
        """Watch a connection.

        Args:
            websocket: of `websockets`, sync or asyncio.
            reading: tells whether the SDK reads from it still.
            feed: takes the messages.
            now: of the monotonic clock, seconds.
            failed: an Error came, so that the SDK closes the connection by itself, at once.
        """
        self._websocket = websocket
        self._reading = reading
        self._feed = feed
        self._failed = failed
        self._until = now + LONGEST_SECONDS
        self._soon_until = now + SOON_SECONDS

    @classmethod
    def of(
        cls, client: Any, *, feed: Callable[[str | bytes], None], now: float, failed: bool
    ) -> Unread | None:
        """Return what to watch of an SDK's client, or None when it is not built as expected."""
        websocket = getattr(client, "_websocket", None)
        thread = getattr(getattr(client, "_read_thread", None), "is_alive", None)
        task = getattr(getattr(client, "_read_task", None), "done", None)
        if not callable(getattr(websocket, "recv", None)) or _state(websocket) is None:
            return None
        if callable(thread):
            return cls(websocket, reading=thread, feed=feed, now=now, failed=failed)
        if callable(task):
            return cls(websocket, reading=lambda: not task(), feed=feed, now=now, failed=failed)
        return None

    def is_soon(self, now: float) -> bool:
        """Tell whether it is about to be known, so that a flush should wait for it."""
        return (self._failed and now < self._soon_until) or _state(self._websocket) != "OPEN"

    def look(self, now: float) -> bool:
        """Read what is there if the connection is closed; tell whether that is over."""
        if self._reading() or _state(self._websocket) != "CLOSED":
            return now > self._until or (self._failed and now > self._soon_until)
        for _ in range(MOST_MESSAGES):
            message = _next(self._websocket)
            if message is None:
                break
            self._feed(message)
        return True


def _state(websocket: Any) -> str | None:
    state = getattr(getattr(websocket, "protocol", None), "state", None)
    name = getattr(state, "name", None)
    return name if isinstance(name, str) else None


def _next(websocket: Any) -> str | bytes | None:
    """Take the next message out of a closed connection's buffer; None when there is none."""
    try:
        if not inspect.iscoroutinefunction(websocket.recv):
            message = websocket.recv(timeout=0)
        else:
            # On a closed connection it never waits, so that it needs no event loop to run in.
            receiving = websocket.recv()
            try:
                receiving.send(None)
            except StopIteration as received:
                message = received.value
            else:
                receiving.close()
                return None
    except Exception:  # noqa: BLE001  ConnectionClosed as a rule; whatever it is, there is no more
        return None
    return message if isinstance(message, str | bytes) else None
