"""Names and texts exactly as given: in forms, in what is searched for, and as they are shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import yaml

from acceptance.process import pipelines
from meter.config import load_config
from meter.errors import ConfigurationError
from meter.plugins import load_plugins
from meter.server.desk.words import shown, spelt
from server.desk.reading import read
from server.desk.scene import REFUSED
from server.desk.serving import Desk
from server.desk.test_desk_acts import UNNAMED, Acting, submit
from support.facts import completed

if TYPE_CHECKING:
    import httpx

FORM = "application/x-www-form-urlencoded"


def confirmed(client: httpx.Client, customer: bytes) -> httpx.Response:
    """Send the form that assigns, its customer's bytes just so."""
    token = read(client.get("/").text).all("input", name="token")[0].attributes["value"]
    body = f"token={token}&act=assign&entry={UNNAMED}&customer=".encode() + customer
    return client.post("/desk/act", content=body, headers={"content-type": FORM})


@pytest.mark.parametrize("customer", ["Müller".encode(), b"M%C3%BCller"])
def test_a_form_is_utf_8_escaped_or_not(acting: Acting, customer: bytes) -> None:
    answer = confirmed(acting[1], customer)
    assert answer.status_code == 200
    assert read(answer.text).one("input", name="customer").attributes["value"] == "Müller"


@pytest.mark.parametrize("customer", [b"%FF", b"\xff", b"M\xfcller", b"%ED%A0%80"])
def test_a_form_that_is_no_utf_8_is_refused_and_told_why(acting: Acting, customer: bytes) -> None:
    answer = confirmed(acting[1], customer)
    assert answer.status_code == 400
    assert "not in UTF-8" in answer.text
    with acting[0].client() as stranger:
        login = stranger.post("/desk/login", content=b"secret=%FF", headers={"content-type": FORM})
        assert (login.status_code, "not in UTF-8" in login.text) == (400, True)


# -- what is searched for ----------------------------------------------------------------------


def test_what_is_called_exactly_so_is_found_before_what_is_called_nearly_so(full: Desk) -> None:
    full.journal.append([completed("spaced", customer_id=" acme")]).wait()
    full.journal.append([completed("blank", customer_id=" ")]).wait()
    full.later()
    for query, where in {
        " acme": "/desk/customer?id=+acme",
        "acme": "/desk/customer?id=acme",
        "acme ": "/desk/customer?id=acme",
        "  acme": "/desk/customer?id=acme",
        f" {REFUSED}\t": f"/desk/event?id={quote(REFUSED, safe='')}",
        " ": "/desk/customer?id=+",
        "   ": "/",
    }.items():
        answer = full.get(f"/desk/search?q={quote(query)}")
        assert answer.headers["location"] == where, query


# -- what a name looks like ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("acme", ""),
        ("Acme & Söhne GmbH", ""),
        ("株式会社", ""),
        (" acme", "␣acme"),
        ("acme  ", "acme␣␣"),
        ("a  b c", "a␣␣b c"),
        (" ", "␣"),
        ("acme\u3164", r"acme\u3164"),
        ("ac\u2800me", r"ac\u2800me"),
        ("a\u034fcme", r"a\u034fcme"),
        ("acme\ufe0f", r"acme\ufe0f"),
        ("acme\u200b", r"acme\u200b"),
        ("acme\xa0", r"acme\xa0"),
        ("acme\u2003x", r"acme\u2003x"),
        ("acme\U000e0100", r"acme\U000e0100"),
        ("\x00\n", r"\x00⏎"),
    ],
)
def test_what_a_look_at_a_name_does_not_tell_is_written_out(name: str, written: str) -> None:
    assert spelt(name) == written


def test_a_long_name_is_written_out_at_both_its_ends() -> None:
    written = spelt(" " + "x" * 10_000 + " ")
    assert (written[:2], written[-2:], len(written)) == ("␣x", "x␣", 503)


@pytest.mark.parametrize("blank", "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
def test_letters_that_cannot_be_seen_are_written_out_wherever_texts_are_shown(blank: str) -> None:
    assert shown(f"a{blank}b") == f"a\\u{ord(blank):04x}b"


def test_before_something_is_assigned_for_ever_the_name_is_written_out(acting: Acting) -> None:
    _, client = acting
    answer = submit(client, f"/desk/entry?id={UNNAMED}", "assign", customer="acme  \u3164")
    page = read(answer.text)
    (note,) = [p for p in page.all("p", class_="note warn") if "Written out" in p.text]
    assert note.one("code").text == r"acme␣␣\u3164"
    assert page.one("input", name="customer").attributes["value"] == "acme  \u3164"
    plain = submit(client, f"/desk/entry?id={UNNAMED}", "assign", customer="acme")
    assert "Written out" not in plain.text


# -- what is said to be done --------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        *(f"/desk/entry?id={UNNAMED}&done={act}" for act in ("drop", "assign", "ask", "retry")),
        *(f"/desk/event?id={REFUSED}&done={act}" for act in ("discard", "retry", "drop")),
        *(f"/desk/event?id={REFUSED}&sink=billing&done={act}" for act in ("discard", "retry")),
        "/?done=drop",
    ],
)
def test_an_address_alone_says_nothing_is_done(acting: Acting, path: str) -> None:
    assert not read(acting[1].get(path).text).all("p", class_="done")


@pytest.mark.parametrize(
    ("page", "act", "given"),
    [
        (f"/desk/entry?id={UNNAMED}", "drop", {"reason": "a test"}),
        (f"/desk/event?id={REFUSED}", "discard", {"reason": "a test"}),
        (f"/desk/event?id={REFUSED}", "retry", {}),
        ("/desk/entry?id=3", "ask", {}),
    ],
)
def test_what_was_done_is_said(acting: Acting, page: str, act: str, given: dict[str, Any]) -> None:
    _, client = acting
    done = submit(client, page, act, **given)
    assert read(client.get(done.headers["location"]).text).one("p", class_="done").text


# -- the pipelines file -------------------------------------------------------------------------


def test_a_secret_that_was_before_is_refused_where_there_is_none_now(tmp_path: Path) -> None:
    path = tmp_path / "pipelines.yaml"
    collectors = {"a": {"type": "ingest", "secret": "s"}}

    def loaded(**server: str) -> Any:
        path.write_text(yaml.safe_dump(pipelines(collectors=collectors, server=server)))
        return load_config(path, load_plugins(), environ={}).server

    with pytest.raises(ConfigurationError) as refused:
        loaded(previous_admin_secret="0ld-s3cret")
    assert "server.previous_admin_secret: there is no admin_secret" in str(refused.value)
    assert "remove this line" in str(refused.value)
    assert "0ld-s3cret" not in str(refused.value)
    assert loaded(previous_admin_secret="").previous_admin_secret is None
    assert loaded(admin_secret="n", previous_admin_secret="o").previous_admin_secret is not None
