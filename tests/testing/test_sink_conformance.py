from __future__ import annotations

from pathlib import Path

import pytest

from testing.kit import run_kit

RIGHT = ["right-charge", "right-append"]
"""`sqlite`, `csv` and `stripe` are those of the other guarantees, in tests of their own."""

SINGLE = "test_a_single_event_arrives"
MANY = "test_many_batches_arrive_whole"
ACCOUNTED = "test_every_event_is_accounted_for"
DESTINATION = "test_every_event_is_accounted_for_when_the_destination_fails"
AROUND = "test_killed_around_a_delivery_it_keeps_its_guarantee"
FIRST = "test_killed_in_its_first_run_it_keeps_its_guarantee"
INSIDE = "test_killed_inside_its_own_code_it_keeps_its_guarantee"
AGAIN = "test_killed_again_while_it_repairs_it_keeps_its_guarantee"
CLOSE = "test_what_is_reported_does_not_wait_for_close"
SECOND = "test_a_second_run_is_refused_and_does_no_harm"
EXACT = "test_seconds_are_exact"
HOSTILE = "test_hostile_text_arrives_as_it_is_or_is_refused"
EQUAL = "test_equal_usage_of_one_customer_is_kept_apart"
ORDER = "test_times_out_of_order_arrive"
OVERLAP = "test_overlapping_batches_count_once"
TWICE = "test_the_same_batch_twice_counts_once"
UNMENTIONED = "test_what_a_report_does_not_mention_is_offered_again"
REOPENED = "test_it_goes_on_after_it_was_closed_and_opened_again"
RECOVERS = "test_it_recovers_from_failures_on_the_way"
STOP = "test_a_stop_during_a_delivery_finishes_it"
OWN = "test_each_destination_is_of_its_own"
LARGE = "test_a_large_batch_arrives_whole"
DECLARED = "test_its_type_and_guarantee_are_declared"
OPTIONS = "test_its_options_are_documented"
CREDENTIALS = "test_its_credentials_are_declared_as_secrets"
SECRETS = "test_no_secret_is_in_any_output"
UNOPENED = "test_a_close_after_a_failed_open_is_harmless"
BREAKS = "test_one_event_that_breaks_a_delivery_does_not_stop_the_others"
READING = "test_what_it_reads_back_is_what_is_there"
SENTENCES = "test_its_exemptions_are_sentences_for_cases_that_exist"

CAUGHT = {
    "loses-decimals": {EXACT},
    "cuts-text": {HOSTILE},
    "trims-text": {HOSTILE},
    "refuses-the-batch": {HOSTILE},
    "closes-nothing": {UNOPENED},
    "leaves-it-open": {BREAKS},
    "one-row-a-customer": {EQUAL, EXACT, HOSTILE},
    "judges-by-the-first": {OVERLAP, ACCOUNTED},
    "passes-the-unmentioned": {UNMENTIONED, ACCOUNTED},
    "claims-too-much": {TWICE, OVERLAP, ACCOUNTED},
    "swallows-a-refusal": {DESTINATION},
    "takes-silence-for-no": {DESTINATION},
    "leaks-in-an-error": {SECRETS},
    "leaks-in-the-log": {SECRETS},
    "key-as-text": {CREDENTIALS, SECRETS, OPTIONS, DECLARED},
    "reads-back-wrong": {READING},
    "exempted-in-vain": {EXACT},
    "exempted-wrongly": {EXACT, SENTENCES},
}
"""Broken sinks that fail these cases, and do ordinary work right."""

CAUGHT_BY_MANY = {
    "drops-the-last": {LARGE, OVERLAP, REOPENED},
    "in-order-of-time": {ORDER, ACCOUNTED, UNMENTIONED},
    "opens-once": {REOPENED, RECOVERS, TWICE},
    "remembers-in-the-module": {OWN},
    "writes-on-close": {SINGLE, STOP, REOPENED},
}
"""Broken sinks that fail these cases, and others that follow from the same fault."""

CAUGHT_BY_A_KILL = {
    "commits-first": INSIDE,
    "half-made": FIRST,
    "doubles-after-a-kill": AROUND,
    "repairs-in-two-steps": AGAIN,
    "writes-on-close": CLOSE,
    "drops-the-last": SECOND,
}
"""Broken sinks, and the case with a child process that finds each."""

WITHOUT_A_KILL = {case for cases in CAUGHT.values() for case in cases} - {DESTINATION, SENTENCES}
SOUND = {
    "right-table": {*WITHOUT_A_KILL, INSIDE, FIRST, SECOND},
    "right-file": {*WITHOUT_A_KILL, AROUND, AGAIN, CLOSE},
    "keeps-its-key": {SECRETS, CREDENTIALS, OPTIONS, DECLARED},
}
"""Right sinks that the broken ones derive from, and the cases that those fail."""

ORDINARY = {SINGLE, MANY, REOPENED}
"""What also a broken sink does right, unless that is its fault."""


@pytest.mark.parametrize("sink", RIGHT)
def test_a_right_sink_of_each_guarantee_passes(tmp_path: Path, sink: str) -> None:
    outcome = run_kit(tmp_path, [sink], points=2)[sink]
    assert not outcome.failed
    assert len(outcome.passed) > 25
    assert outcome.skipped.keys() <= {DESTINATION}


def test_what_the_broken_sinks_are_made_from_fails_none_of_these_cases(tmp_path: Path) -> None:
    outcomes = run_kit(tmp_path, SOUND, only=SOUND, points=2)
    assert {sink: o.failed for sink, o in outcomes.items()} == {sink: {} for sink in SOUND}
    assert {sink: o.passed for sink, o in outcomes.items()} == SOUND


def test_a_broken_sink_fails_the_cases_about_its_fault_and_no_others(tmp_path: Path) -> None:
    only = {sink: cases | ORDINARY for sink, cases in CAUGHT.items()}
    outcomes = run_kit(tmp_path, only, only=only)
    assert {sink: set(o.failed) for sink, o in outcomes.items()} == CAUGHT
    assert all(o.passed >= ORDINARY for o in outcomes.values())


def test_a_sink_that_is_broken_in_everything_fails_what_names_its_fault(tmp_path: Path) -> None:
    outcomes = run_kit(tmp_path, CAUGHT_BY_MANY, only=CAUGHT_BY_MANY)
    assert {sink: set(o.failed) for sink, o in outcomes.items()} == CAUGHT_BY_MANY


@pytest.mark.parametrize(
    "some", [list(CAUGHT_BY_A_KILL)[::2], list(CAUGHT_BY_A_KILL)[1::2]], ids=["even", "odd"]
)
def test_what_only_a_child_process_shows_is_caught(tmp_path: Path, some: list[str]) -> None:
    only = {sink: {CAUGHT_BY_A_KILL[sink]} for sink in some}
    outcomes = run_kit(tmp_path, some, only=only)
    for sink in some:
        told = outcomes[sink].failed[CAUGHT_BY_A_KILL[sink]]
        assert any(word in told for word in ("missing", "times", "did not finish")), told


def test_sums_in_whole_units_pass_unless_users_are_not_told_or_each_event_is_rounded(
    tmp_path: Path,
) -> None:
    cases = {SINGLE, MANY, TWICE, LARGE, EXACT}
    only = dict.fromkeys(("right-sums", "rounds-each"), cases)
    outcomes = run_kit(tmp_path, only, only=only)
    assert outcomes["right-sums"].failed.keys() == {EXACT}
    assert outcomes["rounds-each"].failed.keys() >= {MANY, TWICE, LARGE, EXACT}


def test_an_exempted_case_runs_and_shows_its_sentence(tmp_path: Path) -> None:
    outcome = run_kit(tmp_path, ["exempted"], only={"exempted": {HOSTILE}})["exempted"]
    assert not outcome.failed
    assert "this table trims the customers" in outcome.skipped[HOSTILE]


def test_a_read_back_that_shows_nothing_fails(tmp_path: Path) -> None:
    only = {"right-table": {SINGLE}}
    failed = run_kit(tmp_path, only, only=only, mode="blind")["right-table"].failed
    assert "read_back shows nothing" in failed[SINGLE]


def test_a_destination_that_the_tests_share_fails(tmp_path: Path) -> None:
    only = {"right-table": {OWN}}
    failed = run_kit(tmp_path, only, only=only, mode="shared")["right-table"].failed
    assert "not empty before the case begins" in failed[OWN]
