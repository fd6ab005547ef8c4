"""The tap: one line that attaches to a client of AssemblyAI's SDK."""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from meter.recording.log import say
from meter.recording.recorder import Recorder
from meter.recording.shared import shared_recorder
from meter.recording.unread import Unread

if TYPE_CHECKING:
    from meter.recording.session import RecordedSession

__all__ = ["Tap", "tap"]

_MARK: Final = "_meter_tap"
_EVENTS: Final = ("Begin", "Heartbeat", "Termination")
_FIELDS: Final = (
    "id",
    "expires_at",
    "total_duration_ms",
    "session_duration_seconds",
    "audio_duration_seconds",
)


class Tap:
    """A client that is being recorded."""

    def __init__(self, recorder: Recorder) -> None:
        """Know where its messages go."""
        self._recorder = recorder

    def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Wait until everything that came so far is recorded; tell whether it is.

        It blocks: within asyncio, call it with `asyncio.to_thread`.

        Args:
            timeout_seconds: the longest wait.
        """
        return self._recorder.flush(timeout_seconds)


def tap(
    client: Any,
    *,
    customer_id: str,
    to: str | os.PathLike[str] | Recorder,
    dimensions: Mapping[str, str] | None = None,
    secret: str | None = None,
    collector: str | None = None,
    spool: str | os.PathLike[str] | None = None,
) -> Tap:
    """Record the session of an SDK's client; call it before `connect`.

    The session is unharmed whatever meter does; see `Recorder` for what is promised. Billed is
    what AssemblyAI says in its Termination, so end sessions with `disconnect(terminate=True)`.

    Args:
        client: a `StreamingClient` or `AsyncStreamingClient` of `assemblyai.streaming.v3`.
        customer_id: whose session it is; opaque text, taken exactly as given.
        to: the base URL of a running meter, the path of a journal file, or a `Recorder`. Taps
            to the same place share one recorder, which ends with the interpreter.
        dimensions: further text by name, such as `project_id`.
        secret: see `Recorder`.
        collector: see `Recorder`.
        spool: see `Recorder`.

    Raises:
        ValueError: an argument cannot be used, the client is none, or it is tapped already.
    """
    if not callable(getattr(client, "on", None)):
        raise ValueError(  # noqa: TRY004  one kind of error for every bad argument
            f"client: expected the SDK's StreamingClient or AsyncStreamingClient, got "
            f"{type(client).__name__}"
        )
    if getattr(client, _MARK, None) is not None:
        raise ValueError("client: it is tapped already; a session has one customer")
    if isinstance(to, Recorder):
        if (secret, collector, spool) != (None, None, None):
            raise ValueError("to: a Recorder has its own secret, collector and spool")
        recorder = to
    else:
        recorder = shared_recorder(to, secret=secret, collector=collector, spool=spool)
    session = recorder.session(customer_id=customer_id, dimensions=dimensions)
    try:
        _attach(client, recorder, session)
    except AttributeError as error:
        _listen(client, session, str(error))
    return Tap(recorder)


def _attach(client: Any, recorder: Recorder, session: RecordedSession) -> None:
    """See every message before the SDK's models do, which drop fields and refuse fractions.

    Raises:
        AttributeError: this SDK has no such place.
    """
    parse = client._parse_message  # noqa: SLF001  the only place that sees the raw message; hence the fallback
    if not callable(parse):
        raise AttributeError("_parse_message is no function")  # noqa: TRY004  as if it were not there
    client._parse_message = _TappedParse(client, parse, recorder, session)  # noqa: SLF001  because of the same
    setattr(client, _MARK, True)


def _listen(client: Any, session: RecordedSession, why: str) -> None:
    """Hear what the SDK tells its handlers: less, as its models have the first word."""
    from assemblyai.streaming import v3

    events: Any = v3.StreamingEvents
    say(logging.WARNING, "recording.handlers_only", reason=why)
    for name in _EVENTS:
        client.on(events[name], _Handler(session))
    try:
        setattr(client, _MARK, True)
    except AttributeError:
        return


class _TappedParse:
    """Stands in for the client's `_parse_message`; holds no reference that keeps it alive."""

    def __init__(
        self,
        client: Any,
        parse: Callable[..., Any],
        recorder: Recorder,
        session: RecordedSession,
    ) -> None:
        self._client = weakref.ref(client)
        self._parse = parse
        self._recorder = recorder
        self._session = session
        self._watched = False

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Feed the message, and do what the SDK does."""
        message = arguments[0] if arguments else options.get("data")
        self._session.feed(message)  # type: ignore[arg-type]  # it takes anything
        try:
            parsed = self._parse(*arguments, **options)
        except Exception:
            self._watch(failed=False)  # the SDK's read loop ends of it
            raise
        if _is_error(message):
            self._watch(failed=True)
        return parsed

    def _watch(self, *, failed: bool) -> None:
        if self._watched or self._session.terminated:
            return
        self._watched = True
        try:
            unread = Unread.of(
                self._client(), feed=self._session.feed, now=time.monotonic(), failed=failed
            )
            if unread is not None:
                self._recorder.courier().hand_unread(unread)
        except Exception:  # noqa: BLE001  whatever it is, the user's session goes on
            self._recorder.courier().faults += 1


class _Handler:
    """A plain function to the SDK: one that awaits would be cancelled by `disconnect`."""

    def __init__(self, session: RecordedSession) -> None:
        self._session = session

    def __call__(self, client: object, event: Any) -> None:
        """Feed what the SDK made of the message."""
        del client
        message = {name: getattr(event, name) for name in _FIELDS if hasattr(event, name)}
        message["type"] = getattr(event, "type", None)
        if (configuration := getattr(event, "configuration", None)) is not None:
            message["configuration"] = {"model": getattr(configuration, "model", None)}
        self._session.feed(message)


def _is_error(message: object) -> bool:
    """Tell whether the SDK takes a message for an Error, after which it hangs up."""
    if not isinstance(message, Mapping):
        return False
    return message["type"] == "Error" if "type" in message else "error" in message
