"""Sinks that send to a till, which keeps each id once."""

from __future__ import annotations

from pydantic import Field
from till import Busy, Refused, Till  # type: ignore[import-not-found]  # because only children have it on their path

from meter.errors import RetryableSinkError
from meter.events import format_seconds
from meter.sinks import Batch, FilePath, Guarantee, Options, Report, Sink


class TillOptions(Options):
    path: FilePath = Field(description="The till.")


class RightCharge(Sink):
    """Sends each batch with its ids: the till knows those that it has."""

    type = "right-charge"
    guarantee = Guarantee.IDEMPOTENT
    guarantee_note = "the till keeps each id once, for ever"
    Options = TillOptions

    def deliver(self, batch: Batch) -> Report:
        billed = [event for event in batch.events if event.billed_seconds is not None]
        rows = [
            (event.event_id, event.customer_id, format_seconds(event.billed_seconds or 0))  # type: ignore[arg-type]  # because it is billed
            for event in billed
        ]
        try:
            Till(self.options.path).charge(rows)
        except (Busy, TimeoutError) as error:
            return self.later(batch, error)
        except Refused as error:
            return self.refused(batch, error)
        return Report.everything(batch)

    def later(self, batch: Batch, error: Exception) -> Report:
        del batch
        raise RetryableSinkError(f"the till says: {error}") from error

    def refused(self, batch: Batch, error: Exception) -> Report:
        return Report(rejected={event.event_id: str(error) for event in batch.events})


class SwallowsARefusal(RightCharge):
    """What its name says."""

    type = "swallows-a-refusal"

    def refused(self, batch: Batch, error: Exception) -> Report:
        del error
        return Report.everything(batch)


class TakesSilenceForNo(RightCharge):
    """What its name says."""

    type = "takes-silence-for-no"

    def later(self, batch: Batch, error: Exception) -> Report:
        if isinstance(error, TimeoutError):
            return self.refused(batch, error)
        return super().later(batch, error)
