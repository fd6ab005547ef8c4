"""Recording what a streaming session cost, from within the process that holds its socket.

`meter.tap` attaches to the SDK's clients, `meter.Recorder` serves any other WebSocket code. Read
`courier.py` first: *take in, make durable, deliver, remove*.
"""

from __future__ import annotations

from meter.recording.recorder import Recorder
from meter.recording.sdk_tap import Tap, tap
from meter.recording.session import RecordedSession

__all__ = ["RecordedSession", "Recorder", "Tap", "tap"]
