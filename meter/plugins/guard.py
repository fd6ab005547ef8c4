"""Call a plugin where meter has to wait for it: whatever it does becomes one named error.

Only in the main thread can Python be called back from what hangs, and only there are plugins
loaded and asked for their types and commands.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from types import FrameType
from typing import TypeVar

from meter.errors import PluginError

__all__ = ["blame", "blamed", "described", "first_line", "guarded", "text_of"]

T = TypeVar("T")


class _TooLong(BaseException):
    """The time is over; derived so that no `except Exception` of a plugin's takes it."""


def guarded(call: Callable[[], T], *, seconds: float) -> T:
    """Call a plugin and return what it returns.

    What it prints goes to standard error: standard output belongs to the command's data. In a
    thread other than the main one, or where somebody else uses the alarm, there is no bound.

    Args:
        call: the plugin.
        seconds: how long it may take; a call into C that never comes back is not ended by it.

    Raises:
        PluginError: what the plugin raised, in one line, also if it was an exit; or it took
            too long.
        KeyboardInterrupt: a person pressed Ctrl-C.
    """
    with _interruptions() as pressed:
        try:
            with redirect_stdout(sys.stderr), _alarm(seconds):
                return call()
        except _TooLong:
            raise PluginError(
                f"it did not come back within {seconds:g} s; METER_PLUGIN_SECONDS changes that"
            ) from None
        except BaseException as error:
            if pressed:
                raise KeyboardInterrupt from error
            raise PluginError(described(error)) from error


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise in the main thread when the time is over, unless the alarm is somebody else's."""
    free = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    )
    if not free:
        yield
        return

    def over(_number: int, _frame: FrameType | None) -> None:
        raise _TooLong

    signal.signal(signal.SIGALRM, over)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


@contextmanager
def _interruptions() -> Iterator[list[int]]:
    """Note a Ctrl-C, to tell it from a plugin that raises KeyboardInterrupt by itself."""
    pressed: list[int] = []
    plain = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not plain:
        yield pressed
        return

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        if signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def described(error: BaseException) -> str:
    """Name an error's type and its first line; a plugin's traceback is for the log."""
    line = first_line(error)
    if line and isinstance(error, PluginError):
        return line
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text; empty when it has none."""
    lines = text_of(error).strip().splitlines()
    return lines[0] if lines else ""


def text_of(error: BaseException) -> str:
    """Return an error's text, as far as it can be told and stored."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  because an error of a plugin's may break even here
        return ""
    return text.encode(errors="backslashreplace").decode()


def blame(error: BaseException, plugin: str) -> None:
    """Note on an error which plugin raised it, where that is not the plugin of the sink."""
    vars(error)["meter_plugin"] = plugin


def blamed(error: BaseException) -> str | None:
    """Return the plugin that `blame` noted."""
    plugin = vars(error).get("meter_plugin")
    return plugin if isinstance(plugin, str) else None
