"""A plugin of the tests' own: its one sink says and does what a JSON file tells it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from meter import hookimpl
from meter.errors import FatalSinkError, RetryableSinkError
from meter.sinks import Batch, Guarantee, Later, Options, Report, Secret, Sink


class DeskOptions(Options):
    """What the file `says` has: `events` by event id, and words by question."""

    says: str
    key: Secret


class DeskSink(Sink):
    """Believes its file, afresh each time."""

    type = "desk"
    guarantee = Guarantee.AT_LEAST_ONCE
    Options = DeskOptions

    def _says(self, what: str) -> Any:
        path = Path(self.options.says)
        said = json.loads(path.read_text()).get(what) if path.exists() else None
        if isinstance(said, str):
            errors = {"fatal": FatalSinkError, "retry": RetryableSinkError, "bug": RuntimeError}
            kind, _, words = said.partition(": ")
            raise errors[kind](words)
        return said or {}

    def deliver(self, batch: Batch) -> Report:
        now = self.context.clock.now()
        says = self._says("events")
        report: dict[str, Any] = {"held": {}, "rejected": {}, "later": {}, "delivered": []}
        for event in batch.events:
            place, _, reason = says.get(event.event_id, "delivered").partition(": ")
            if place == "later":
                report["later"][event.event_id] = Later(reason, now + timedelta(hours=1))
            elif place == "delivered":
                report["delivered"].append(event.event_id)
            else:
                report[place][event.event_id] = reason
        return Report(**report)

    def status(self) -> Sequence[str]:
        return list(self._says("status"))

    def explain(self, reference: str) -> Sequence[str]:
        return list(self._says("explain").get(reference, ()))

    def check(self) -> Sequence[str]:
        seen = len(self.context.state.scan())
        key = self.options.key.get_secret_value()
        known = f"key of {len(key)} characters, {seen} things remembered"
        return [*self._says("check"), known]


@hookimpl
def meter_register_sinks() -> list[type[Sink]]:
    return [DeskSink]
