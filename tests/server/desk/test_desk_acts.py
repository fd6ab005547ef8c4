"""What somebody who has signed in does on the page: done as on the command line, and recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meter.journal import Recorded
from server.desk.reading import read
from server.desk.scene import REFUSED
from server.desk.serving import Desk
from support.facts import completed

if TYPE_CHECKING:
    import httpx

Acting = tuple[Desk, "httpx.Client"]
UNNAMED, UNFETCHED = 2, 3
"""The numbers of two things in the scene's quarantine: a job without a customer, and one that
could not be fetched."""


def submit(client: httpx.Client, page: str, act: str, **given: str) -> httpx.Response:
    """Send the form of an act that a page has, filled in; there must be one."""
    root = read(client.get(page).text)
    for form in root.all("form", action="/desk/act"):
        fields = {i.attributes["name"]: i.attributes.get("value", "") for i in form.all("input")}
        buttons = {b.attributes.get("value") for b in form.all("button")}
        if fields.get("act") == act or act in buttons:
            unknown = given.keys() - fields.keys()
            assert not unknown, unknown
            return client.post("/desk/act", data={**fields, "act": act, **given})
    raise AssertionError(f"{page} has no form to {act}")


def state(desk: Desk, event_id: str = REFUSED, sink: str = "billing") -> str:
    places = desk.journal.exceptions.places(event_id)
    return next(place.state for place in places if place.sink == sink)


def newest_act(desk: Desk) -> tuple[Any, ...]:
    act = desk.journal.acts.newest(1)[0]
    return act.who, act.what, act.sink or act.entry, act.reason


def test_a_dead_letter_is_offered_again(acting: Acting) -> None:
    desk, client = acting
    done = submit(client, f"/desk/event?id={REFUSED}", "retry", reason="the column is there now")
    assert done.status_code == 303
    assert state(desk) == "retrying"
    assert newest_act(desk) == ("Dana@page", "retry", "billing", "the column is there now")
    page = client.get(done.headers["location"]).text
    assert "Offered again" in page
    assert "Dana@page offered again for billing: the column is there now" in page


def test_a_dead_letter_is_given_up_only_with_a_reason_and_can_be_taken_back(acting: Acting) -> None:
    desk, client = acting
    page = f"/desk/event?id={REFUSED}"
    refused = submit(client, page, "discard", reason="  ")
    assert refused.status_code == 409
    assert "it needs a reason" in refused.text
    assert state(desk) == "dead"
    assert submit(client, page, "discard", reason="a test of ours").status_code == 303
    assert state(desk) == "discarded"
    assert "refused 1 event" not in client.get("/").text
    assert "1 was given up" in client.get("/").text
    assert submit(client, page, "retry").status_code == 303
    assert state(desk) == "retrying"


def test_an_act_on_what_has_changed_meanwhile_is_refused(acting: Acting) -> None:
    desk, client = acting
    form = {"event": REFUSED, "sink": "billing", "act": "retry"}
    acts = len(desk.journal.acts.newest(10, sink="billing"))
    token = read(client.get("/").text).all("input", name="token")[0].attributes["value"]
    assert client.post("/desk/act", data={**form, "token": token}).status_code == 303
    again = client.post("/desk/act", data={**form, "token": token})
    assert again.status_code == 409
    assert "it is no dead letter of billing any more" in again.text
    assert len(desk.journal.acts.newest(10, sink="billing")) == acts + 1


def test_something_in_quarantine_is_assigned_once_somebody_looked_twice(acting: Acting) -> None:
    desk, client = acting
    asked = submit(client, f"/desk/entry?id={UNNAMED}", "assign", customer="  Acme ")
    assert asked.status_code == 200
    assert "Nobody of this name has used anything before." in asked.text
    assert desk.journal.find("assemblyai:transcript:a94e-unnamed") is None
    asked = submit(client, f"/desk/entry?id={UNNAMED}", "assign", customer="acme", reason="mail")
    assert "Nobody of this name" not in asked.text
    form = read(asked.text).all("form", action="/desk/act")[0]
    fields = {i.attributes["name"]: i.attributes["value"] for i in form.all("input")}
    done = client.post("/desk/act", data=fields)
    assert done.status_code == 303
    event = desk.journal.find("assemblyai:transcript:a94e-unnamed")
    assert event is not None
    assert (event.customer_id, str(event.billed_seconds)) == ("acme", "61.5")
    assert newest_act(desk) == ("Dana@page", "assign", UNNAMED, "mail")
    page = client.get(done.headers["location"]).text
    assert "Assigned: it is an event now" in page
    assert "assigned" in page
    assert 'action="/desk/act"' not in page, "nothing is left to do"


def test_a_customers_name_is_taken_exactly_as_it_is_given(acting: Acting) -> None:
    desk, client = acting
    name = ' <b>"Müller" & Söhne</b> '
    asked = submit(client, f"/desk/entry?id={UNNAMED}", "assign", customer=name)
    form = read(asked.text).all("form", action="/desk/act")[0]
    fields = {i.attributes["name"]: i.attributes["value"] for i in form.all("input")}
    assert client.post("/desk/act", data=fields).status_code == 303
    event = desk.journal.find("assemblyai:transcript:a94e-unnamed")
    assert event is not None
    assert event.customer_id == name


def test_a_job_that_could_not_be_fetched_is_asked_for_again(acting: Acting) -> None:
    desk, client = acting
    before = desk.journal.open_receipts("transcripts")
    assert submit(client, f"/desk/entry?id={UNFETCHED}", "ask").status_code == 303
    assert desk.journal.open_receipts("transcripts") == before + 1
    assert newest_act(desk) == ("Dana@page", "retry", UNFETCHED, "")
    again = submit(client, f"/desk/entry?id={UNFETCHED}", "ask")
    assert again.status_code == 409
    assert "it is being asked for already" in again.text


def test_what_is_nobodys_usage_is_discarded_only_with_a_reason(acting: Acting) -> None:
    desk, client = acting
    page = f"/desk/entry?id={UNNAMED}"
    assert submit(client, page, "drop", reason="").status_code == 409
    assert submit(client, page, "drop", reason="a test of ours").status_code == 303
    entry = desk.journal.aside.find(UNNAMED)
    assert entry is not None
    assert entry.state == "discarded"
    assert newest_act(desk) == ("Dana@page", "discard", UNNAMED, "a test of ours")


def test_what_came_true_meanwhile_cannot_be_assigned_to_another(acting: Acting) -> None:
    desk, client = acting
    asked = submit(client, f"/desk/entry?id={UNNAMED}", "assign", customer="acme")
    form = read(asked.text).all("form", action="/desk/act")[0]
    fields = {i.attributes["name"]: i.attributes["value"] for i in form.all("input")}
    (answer,) = desk.journal.append([completed("a94e-unnamed", customer_id="studio")]).wait()
    assert answer is Recorded.RECORDED
    done = client.post("/desk/act", data=fields)
    assert done.status_code == 409
    assert "Nothing was done" in done.text


REFUSED_FORMS: tuple[dict[str, str], ...] = (
    {"act": "replay"},
    {"act": ""},
    {"act": "retry", "event": REFUSED, "sink": "nobody"},
    {"act": "retry", "event": "assemblyai:transcript:no", "sink": "billing"},
    {"act": "drop", "entry": "99", "reason": "r"},
    {"act": "drop", "entry": "-1", "reason": "r"},
    {"act": "drop", "entry": "9" * 30, "reason": "r"},
    {"act": "drop", "entry": "²", "reason": "r"},
    {"act": "drop", "entry": "2", "reason": "r" * 501},
    {"act": "ask", "entry": str(UNNAMED)},
    {"act": "assign", "entry": str(UNFETCHED), "customer": "acme", "sure": "yes"},
    {"act": "assign", "entry": str(UNNAMED), "customer": "", "sure": "yes"},
    {"act": "assign", "entry": str(UNNAMED), "customer": ""},
)


def test_what_cannot_be_done_is_refused_in_words_and_nothing_is_recorded(acting: Acting) -> None:
    desk, client = acting
    acts = desk.journal.acts.newest(10)
    token = read(client.get("/").text).all("input", name="token")[0].attributes["value"]
    for form in REFUSED_FORMS:
        answer = client.post("/desk/act", data={**form, "token": token})
        assert answer.status_code == 409, form
        assert "Nothing was done: " in answer.text
        assert desk.journal.acts.newest(10) == acts


def test_a_form_without_the_token_of_this_sign_in_does_nothing(acting: Acting) -> None:
    desk, client = acting
    with desk.client() as other:
        from server.desk.scene import SECRET

        other.post("/desk/login", data={"secret": SECRET, "name": "Eve"})
        token = read(other.get("/").text).all("input", name="token")[0].attributes["value"]
    for given in ("", "x", token, "\xff"):
        form = {"act": "drop", "entry": str(UNNAMED), "reason": "r", "token": given}
        assert client.post("/desk/act", data=form).status_code == 403
    entry = desk.journal.aside.find(UNNAMED)
    assert entry is not None
    assert entry.state == "open"


def test_who_has_not_signed_in_sees_ways_out_and_no_buttons(full: Desk) -> None:
    for page in (f"/desk/event?id={REFUSED}", f"/desk/entry?id={UNNAMED}"):
        root = read(full.get(page).text)
        assert not root.all("form", method="post")
        assert root.all("code", class_="command")
