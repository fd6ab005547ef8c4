"""What can go wrong at the provider, on purpose: by share of the traffic, or for one named job."""

import dataclasses
import enum
from collections.abc import Mapping
from decimal import Decimal
from random import Random
from typing import Any, Literal, TypeAlias

AudioDuration: TypeAlias = int | Decimal | str | None
"""What a transcript may carry as `audio_duration`: honest (int, Decimal), or broken on purpose."""

SERVER_ERRORS = (500, 503, 504)
"""The 5xx answers that AssemblyAI's API description names."""


class Drawn(enum.Enum):
    """Marks a field of a `JobPlan` that is left to chance; `None` is a value there."""

    DRAWN = "drawn"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one GET is answered in place of the honest answer; the default changes nothing.

    `status_code` other than 200 answers with an error body, and with `Retry-After` when
    `retry_after_seconds` is given. `delay_seconds` passes first. `fields` replaces fields of the
    document; `malformed` cuts the JSON in half.
    """

    status_code: int = 200
    retry_after_seconds: int | None = None
    delay_seconds: float = 0.0
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    malformed: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """What happens to one job; a field that is not given is left to chance and to `Faults`.

    Attributes:
        latency_seconds: From submission to the final status.
        status: The final status.
        error: The error text of a job that fails.
        audio_duration: Seconds, or something that no meter can bill. Decimals are sent exactly.
        speech_model_used: What ran, whatever was asked for.
        webhook_copies: 0 is a webhook that never comes, 2 a duplicate sent at the same moment.
        webhook_lead_seconds: How long GET lags behind the webhook; 0 is a webhook on time.
        answers: How the first GETs of this transcript are answered, in order.
    """

    latency_seconds: float | None = None
    status: Literal["completed", "error"] | None = None
    error: str | None = None
    audio_duration: AudioDuration | Drawn = Drawn.DRAWN
    speech_model_used: str | None = None
    webhook_copies: int | None = None
    webhook_lead_seconds: float | None = None
    answers: tuple[Answer, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Shares (0 to 1) of jobs, webhooks and GETs that go wrong; the default is a perfect day.

    What concerns a job is drawn when it is submitted and stays with it; what concerns a GET is
    drawn at each GET, of a transcript or of the list.

    Attributes:
        failed_jobs: Jobs that end in `error`.
        webhook_lost: Webhooks that are never sent.
        webhook_twice: Webhooks that are sent twice, at the same moment.
        webhook_early: Webhooks that are sent `webhook_early_seconds` before GET shows the
            final status.
        duration_fractional: Jobs whose `audio_duration` has a fraction, as older answers had.
        duration_null, duration_negative, duration_text: Completed jobs that nobody can bill.
        unknown_model: Jobs whose `speech_model_used` is a name that no client has heard of.
        unusual_items: Jobs that the list shows as it sometimes does: times with a `Z`, and
            `error` as an empty text.
        get_rate_limited: 429 with `Retry-After: retry_after_seconds`.
        get_server_error: 500, 503 or 504.
        get_slow: Answered after `slow_seconds`.
        get_malformed: 200 with half of the JSON.
        get_unknown_status: A transcript whose `status` is none of the four; a list is honest.

    Raises:
        ValueError: A share is outside 0 to 1, or shares that exclude each other exceed 1.
    """

    failed_jobs: float = 0.0
    webhook_lost: float = 0.0
    webhook_twice: float = 0.0
    webhook_early: float = 0.0
    webhook_early_seconds: float = 0.5
    duration_fractional: float = 0.0
    duration_null: float = 0.0
    duration_negative: float = 0.0
    duration_text: float = 0.0
    unknown_model: float = 0.0
    unusual_items: float = 0.0
    get_rate_limited: float = 0.0
    retry_after_seconds: int = 1
    get_server_error: float = 0.0
    get_slow: float = 0.0
    slow_seconds: float = 5.0
    get_malformed: float = 0.0
    get_unknown_status: float = 0.0

    def __post_init__(self) -> None:
        shares = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if not field.name.endswith("_seconds")
        }
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"faults: {name} is a share from 0 to 1, not {share!r}")
        for group in ("duration_", "get_"):
            total = sum(share for name, share in shares.items() if name.startswith(group))
            # A few ulps of slack: ten shares of 0.1 are meant to be 1.
            if total > 1 + 1e-9:
                raise ValueError(f"faults: the shares {group}* exclude each other; they sum to 1")
        if self.webhook_lost + self.webhook_twice > 1 + 1e-9:
            raise ValueError("faults: webhook_lost and webhook_twice exclude each other")

    def draw_answer(self, chance: Random) -> Answer:
        """Say how one GET is answered."""
        roll = chance.random()
        for share, answer in (
            (
                self.get_rate_limited,
                Answer(status_code=429, retry_after_seconds=self.retry_after_seconds),
            ),
            (self.get_server_error, Answer(status_code=chance.choice(SERVER_ERRORS))),
            (self.get_slow, Answer(delay_seconds=self.slow_seconds)),
            (self.get_malformed, Answer(malformed=True)),
            (self.get_unknown_status, Answer(fields={"status": "paused"})),
        ):
            if roll < share:
                return answer
            roll -= share
        return Answer()
