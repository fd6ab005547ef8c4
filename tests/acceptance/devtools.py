"""A headless Chromium that a test drives through its own DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect

from acceptance.process import wait_until

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_SECONDS = 30
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
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-port=0",
)


def has_chromium() -> bool:
    return any(map(shutil.which, NAMES))


class Browser:
    """One Chromium with a profile of its own, and one page in it.

    Attributes:
        axe: the accessibility checker's script, once somebody wants it.
        complaints: what the page, or the browser, wrote to the console, and what was thrown.
    """

    axe = ""

    def __init__(self, folder: Path) -> None:
        command = next(filter(None, map(shutil.which, NAMES)))
        self._process = subprocess.Popen(
            [command, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a group of its own, to be ended as a whole
        )
        self._numbers = itertools.count(1)
        self._events: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        with ExitStack() as stack:
            stack.callback(self._end)
            connection = connect(self._page(folder), max_size=None, proxy=None)
            self._socket = stack.enter_context(connection)
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
            self._open = stack.pop_all()

    def _page(self, folder: Path) -> str:
        """Return where the page is spoken to, once it is there."""
        file = folder / "DevToolsActivePort"
        pages: list[str] = []

        def there() -> bool:
            if not file.exists() or len(lines := file.read_text().splitlines()) < 2:
                return False
            url = f"http://127.0.0.1:{lines[0]}/json/list"
            targets = httpx.get(url, trust_env=False, timeout=PATIENCE_SECONDS).json()
            pages.extend(t["webSocketDebuggerUrl"] for t in targets if t["type"] == "page")
            return bool(pages)

        wait_until(there)
        return pages[0]

    # -- the protocol ------------------------------------------------------------------------

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol, and return its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (message := self._next()).get("id") != number:
            self._note(message)
        assert "error" not in message, (method, message["error"])
        return message["result"]

    def wait_for(self, event: str) -> dict[str, Any]:
        """Wait for an event of the protocol, unless it has come already."""
        while True:
            for message in self._events:
                if message["method"] == event:
                    self._events.remove(message)
                    return message
            self._note(self._next())

    def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=PATIENCE_SECONDS))
        return message

    def _note(self, message: dict[str, Any]) -> None:
        method, given = message.get("method"), message.get("params", {})
        if method == "Runtime.consoleAPICalled":
            self.complaints.append(f"console: {[a.get('value') for a in given['args']]}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(f"thrown: {given['exceptionDetails'].get('text')}")
        elif method == "Log.entryAdded":
            entry = given["entry"]
            self.complaints.append(f"{entry['source']}: {entry['text']} {entry.get('url')}")
        elif method == "Page.loadEventFired":
            self._events.append(message)

    # -- what a person does --------------------------------------------------------------------

    def open(self, url: str) -> None:
        """Go to an address, and wait until everything is loaded."""
        self._events.clear()
        answer = self.call("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        self.wait_for("Page.loadEventFired")

    def loaded_by(self, expression: str) -> None:
        """Evaluate what leads to another page, and wait until that is loaded."""
        self._events.clear()
        self.evaluate(expression)
        self.wait_for("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression on the page; a promise is awaited."""
        result = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def see(self, width: int, height: int, *, dark: bool = False, scale: float = 1) -> None:
        """Look through a window of this size, in light or in dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def press(self, key: str, code: int, *, shift: bool = False) -> None:
        """Press a key."""
        given = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        given |= {"modifiers": 8 if shift else 0}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **given, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **given)

    def type(self, text: str) -> None:
        """Write into what has the focus."""
        self.call("Input.insertText", text=text)

    def picture(self, *, whole: bool = False) -> bytes:
        """Return the page as PNG."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(answer["data"])

    def close(self) -> None:
        """End the browser."""
        self._open.close()

    def _end(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)
