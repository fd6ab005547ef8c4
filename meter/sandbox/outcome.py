"""How a job ends: drawn once, at its submission, from a plan, the faults and chance."""

import dataclasses
from collections.abc import Mapping
from decimal import Decimal
from random import Random
from typing import Any, Literal, TypeVar

from meter.sandbox.faults import AudioDuration, Drawn, Faults, JobPlan

T = TypeVar("T")

DEFAULT_MODEL = "universal"
UNKNOWN_MODEL = "universal-99-experimental"
ERROR_TEXT = "Transcoding failed. File does not appear to contain audio."
DETECTED_LANGUAGES = ("en", "es", "de", "fr", "pt")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the provider will say about one job once it is done; units as in `JobPlan`."""

    latency_seconds: float
    status: Literal["completed", "error"]
    error: str | None
    audio_duration: AudioDuration
    speech_model_used: str
    language_code: str
    audio_channels: int | None
    webhook_copies: int
    webhook_lead_seconds: float
    unusual_item: bool

    @property
    def billed_seconds(self) -> Decimal | None:
        """The exact seconds that AssemblyAI bills, or None when its answer names none."""
        if self.status != "completed" or not isinstance(self.audio_duration, int | Decimal):
            return None
        seconds = Decimal(self.audio_duration)
        return seconds if seconds.is_finite() and seconds >= 0 else None


def seeded_chance(*parts: object) -> Random:
    """Return a generator that depends on nothing but `parts`: the same in every process."""
    seed = "/".join(str(part) for part in parts)
    return Random(seed)  # noqa: S311 - simulated jobs that must repeat, nothing secret


def draw_outcome(
    request: Mapping[str, Any], plan: JobPlan, faults: Faults, latency: float, chance: Random
) -> Outcome:
    """Decide how a job ends. What `plan` names stands; the rest is drawn.

    `latency` is the mean in seconds; a job takes from half of it to half as much again. The same
    number of draws is made whatever the plan and the faults say, so that changing one of them
    does not reshuffle every other job.
    """
    failed = chance.random() < faults.failed_jobs
    copies_roll = chance.random()
    early = chance.random() < faults.webhook_early
    duration = _draw_duration(faults, chance)
    odd_model = chance.random() < faults.unknown_model
    unusual_item = chance.random() < faults.unusual_items
    drawn_latency = latency * chance.uniform(0.5, 1.5)
    detected = chance.choice(DETECTED_LANGUAGES)

    status = plan.status or ("error" if failed else "completed")
    copies = 1
    if copies_roll < faults.webhook_lost + faults.webhook_twice:
        copies = 0 if copies_roll < faults.webhook_lost else 2
    lead = faults.webhook_early_seconds if early else 0.0
    asked = (request.get("speech_models") or [request.get("speech_model") or DEFAULT_MODEL])[0]
    completed = status == "completed"
    return Outcome(
        latency_seconds=_given(plan.latency_seconds, drawn_latency),
        status=status,
        error=None if completed else _given(plan.error, ERROR_TEXT),
        audio_duration=(
            None
            if not completed
            else duration
            if isinstance(plan.audio_duration, Drawn)
            else plan.audio_duration
        ),
        speech_model_used=plan.speech_model_used or (UNKNOWN_MODEL if odd_model else asked),
        language_code=(
            detected
            if request.get("language_detection")
            else request.get("language_code") or "en_us"
        ),
        audio_channels=2 if request.get("multichannel") else None,
        webhook_copies=_given(plan.webhook_copies, copies),
        webhook_lead_seconds=_given(plan.webhook_lead_seconds, lead),
        unusual_item=unusual_item,
    )


def _draw_duration(faults: Faults, chance: Random) -> AudioDuration:
    """Mostly calls of some minutes, now and then a long meeting; whole seconds unless faulty."""
    whole = max(1, round(chance.lognormvariate(5.5, 1.2)))
    fraction = Decimal(chance.randrange(1, 1000)) / 1000
    roll = chance.random()
    odd: tuple[tuple[float, AudioDuration], ...] = (
        (faults.duration_fractional, whole + fraction),
        (faults.duration_null, None),
        (faults.duration_negative, -whole),
        (faults.duration_text, "unknown"),
    )
    for share, value in odd:
        if roll < share:
            return value
        roll -= share
    return whole


def _given(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value
