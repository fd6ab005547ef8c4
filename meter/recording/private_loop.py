"""An event loop of a recorder's own, that never holds the interpreter back from ending."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["PrivateLoop"]

Addresses = list[Any]


class PrivateLoop(asyncio.SelectorEventLoop):
    """Looks names up in daemon threads.

    asyncio's own way is an executor, which the interpreter waits for when it ends (a dead name
    server would delay the user's exit), and which takes no more work by then (the last flush
    would find no address).
    """

    async def getaddrinfo(self, *arguments: Any, **options: Any) -> Addresses:
        """Look a name up; see `socket.getaddrinfo`."""
        found: asyncio.Future[Addresses] = self.create_future()

        def look() -> None:
            try:
                addresses = socket.getaddrinfo(*arguments, **options)
            except Exception as error:  # noqa: BLE001  whatever it is, the waiting side must hear of it
                self._tell(found, found.set_exception, error)
            else:
                self._tell(found, found.set_result, addresses)

        try:
            threading.Thread(target=look, name="meter-recorder-names", daemon=True).start()
        except RuntimeError:  # Python 3.12 starts none while it ends
            return socket.getaddrinfo(*arguments, **options)
        return await found

    def _tell(
        self, found: asyncio.Future[Addresses], tell: Callable[[Any], None], outcome: object
    ) -> None:
        def settle() -> None:
            if not found.done():
                tell(outcome)

        try:
            self.call_soon_threadsafe(settle)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return
