"""Each fault does what it says, for a share of the traffic or for one planned job."""

import json
import time
from decimal import Decimal
from typing import Any

import pytest

from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import Answer, Drawn, Faults, JobPlan
from meter.sandbox.outcome import draw_outcome, seeded_chance
from sandbox.conftest import Api
from sandbox.receiver import eventually


def submit_finished(double: AssemblyAISandbox, api: Api, audio_url: str = "https://a/1") -> str:
    transcript_id = str(api.submit(audio_url)["id"])
    eventually(lambda: double.truth()[-1].status in {"completed", "error"})
    return transcript_id


def test_a_share_of_jobs_fails(double: AssemblyAISandbox, api: Api) -> None:
    double.faults = Faults(failed_jobs=0.5)
    for number in range(40):
        api.submit(f"https://audio.example/{number}.mp3")
    eventually(lambda: {row.status for row in double.truth()} == {"completed", "error"})
    eventually(lambda: all(row.status in {"completed", "error"} for row in double.truth()))
    assert 8 < sum(row.status == "error" for row in double.truth()) < 32


def test_get_faults_can_be_changed_at_run_time(double: AssemblyAISandbox, api: Api) -> None:
    transcript_id = submit_finished(double, api)
    path = f"/v2/transcript/{transcript_id}"

    double.faults = Faults(get_rate_limited=1, retry_after_seconds=3)
    for limited in (api.http.get(path), api.http.get("/v2/transcript")):
        assert (limited.status_code, limited.headers["retry-after"]) == (429, "3")
        assert limited.json()["error"]

    double.faults = Faults(get_server_error=1)
    assert {api.http.get(path).status_code for _ in range(30)} == {500, 503, 504}

    double.faults = Faults(get_malformed=1)
    malformed = api.http.get(path)
    assert malformed.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        malformed.json()

    double.faults = Faults(get_unknown_status=1)
    assert api.status(transcript_id) == "paused"

    double.faults = Faults(get_slow=1, slow_seconds=0.2)
    began = time.monotonic()
    assert api.status(transcript_id) == "completed"
    assert time.monotonic() - began >= 0.2

    double.faults = Faults()
    assert api.status(transcript_id) == "completed"


@pytest.mark.parametrize(
    ("faults", "is_what_it_says"),
    [
        (Faults(duration_null=1), lambda value: value is None),
        (Faults(duration_text=1), lambda value: isinstance(value, str)),
        (Faults(duration_negative=1), lambda value: isinstance(value, int) and value < 0),
    ],
    ids=["null", "text", "negative"],
)
def test_a_duration_that_is_none_bills_nothing(
    double: AssemblyAISandbox, api: Api, faults: Faults, is_what_it_says: Any
) -> None:
    double.faults = faults
    transcript_id = submit_finished(double, api)
    assert is_what_it_says(api.get(transcript_id)["audio_duration"])
    assert double.truth()[0].seconds is None


def test_a_fractional_duration_arrives_exactly(double: AssemblyAISandbox, api: Api) -> None:
    double.faults = Faults(duration_fractional=1)
    drawn = submit_finished(double, api)
    exact = Decimal("1234567.123456789123456789")
    double.plan_next(JobPlan(audio_duration=exact))
    planned = submit_finished(double, api)
    for transcript_id, row in zip((drawn, planned), double.truth(), strict=True):
        text = api.http.get(f"/v2/transcript/{transcript_id}").text
        assert json.loads(text, parse_float=Decimal)["audio_duration"] == row.seconds
    assert double.truth()[0].seconds % 1 != 0  # type: ignore[operator]  # just compared above
    assert double.truth()[1].seconds == exact


def test_an_unknown_model_is_shown_and_known_to_the_ledger(
    double: AssemblyAISandbox, api: Api
) -> None:
    double.faults = Faults(unknown_model=1)
    shown = api.get(submit_finished(double, api))["speech_model_used"]
    assert shown == double.truth()[0].speech_model_used != "universal"


def test_plans_go_to_the_next_jobs_in_order(double: AssemblyAISandbox, api: Api) -> None:
    double.faults = Faults(failed_jobs=1, get_rate_limited=1)
    double.plan_next(
        JobPlan(
            status="completed",
            audio_duration=0,
            speech_model_used="slam-1",
            answers=(
                Answer(status_code=503),
                Answer(fields={"status": "paused"}),
                Answer(malformed=True),
                Answer(),
            ),
        ),
        JobPlan(status="completed", audio_duration=None),
    )
    path = f"/v2/transcript/{submit_finished(double, api)}"
    submit_finished(double, api)
    submit_finished(double, api)
    assert api.http.get(path).status_code == 503
    assert api.http.get(path).json()["status"] == "paused"
    assert api.http.get(path).text.startswith("{")
    honest = api.http.get(path).json()
    assert (honest["audio_duration"], honest["speech_model_used"]) == (0, "slam-1")
    assert api.http.get(path).status_code == 429, "after its script a job is left to the faults"
    rows = double.truth()
    assert [row.seconds for row in rows] == [Decimal(0), None, None]
    assert [row.status for row in rows] == ["completed", "completed", "error"]


def test_a_test_can_finish_a_job_by_hand(double: AssemblyAISandbox, api: Api) -> None:
    double.plan_next(JobPlan(latency_seconds=3600, audio_duration=61))
    transcript_id = api.submit()["id"]
    assert double.truth()[0].seconds is None
    double.finish(transcript_id)
    eventually(lambda: api.status(transcript_id) == "completed")
    assert double.truth()[0].seconds == 61
    with pytest.raises(KeyError):
        double.finish("nobody")


@pytest.mark.parametrize(
    "shares",
    [
        {"failed_jobs": 1.1},
        {"get_slow": -0.1},
        {"get_slow": 0.6, "get_malformed": 0.6},
        {"duration_null": 0.6, "duration_text": 0.6},
        {"webhook_lost": 0.6, "webhook_twice": 0.6},
    ],
)
def test_impossible_shares_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="faults: "):
        Faults(**shares)  # type: ignore[arg-type]  # mypy cannot see which names are floats


def test_shares_hold_over_many_draws() -> None:
    faults = Faults(
        get_rate_limited=0.1,
        get_server_error=0.2,
        get_slow=0.1,
        get_malformed=0.1,
        get_unknown_status=0.1,
    )
    chance = seeded_chance("shares")
    answers = [faults.draw_answer(chance) for _ in range(5000)]
    honest = sum(answer == Answer() for answer in answers) / len(answers)
    limited = sum(answer.status_code == 429 for answer in answers) / len(answers)
    assert honest == pytest.approx(0.4, abs=0.03)
    assert limited == pytest.approx(0.1, abs=0.02)


def test_a_plan_or_a_fault_leaves_the_other_draws_alone() -> None:
    request = {"audio_url": "https://audio.example/a.mp3"}
    honest = draw_outcome(request, JobPlan(), Faults(), 1.0, seeded_chance(1))
    odd = draw_outcome(
        request,
        JobPlan(speech_model_used="slam-1"),
        Faults(webhook_twice=1, unusual_items=1),
        1.0,
        seeded_chance(1),
    )
    assert odd.audio_duration == honest.audio_duration
    assert odd.latency_seconds == honest.latency_seconds
    assert JobPlan().audio_duration is Drawn.DRAWN
