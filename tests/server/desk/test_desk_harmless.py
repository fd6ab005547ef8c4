"""What no page does: load anything but ours, show a secret, or do what a customer's name says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_plus

from meter.server.desk.answers import STATIC
from server.desk.reading import Element, read
from server.desk.scene import HOSTILE, REFUSED, SECRET, SESSION, fill_hostile
from server.desk.serving import Desk, page

if TYPE_CHECKING:
    import httpx

PATHS = (
    "/",
    "/desk/customers",
    "/desk/customer?id=acme",
    "/desk/events",
    f"/desk/event?id={REFUSED}",
    "/desk/sessions",
    "/desk/sessions?state=all",
    f"/desk/session?id={SESSION}",
    "/desk/letters",
    "/desk/letters?state=held&sink=billing",
    "/desk/quarantine",
    "/desk/entry?id=2",
    "/desk/acts",
    "/desk/search?q=nobody",
)


def test_a_page_may_run_and_load_nothing_but_our_own_and_is_never_kept(full: Desk) -> None:
    for path in PATHS:
        answer = full.get(path)
        parts = answer.headers["content-security-policy"].split(";")
        policy = dict(part.strip().split(" ", 1) for part in parts)
        assert policy.pop("default-src") == policy.pop("frame-ancestors") == "'none'"
        assert policy.pop("base-uri") == "'none'"
        assert set(policy.values()) == {"'self'"}
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        for element in read(answer.text).all():
            loads_only_ours(element)


def loads_only_ours(element: Element) -> None:
    assert element.tag != "style"
    assert element.tag != "script" or (element.attributes["src"] and not element.children)
    for name, value in element.attributes.items():
        assert name != "style"
        assert not name.startswith("on"), name
        assert name not in {"src", "href", "action"} or value.startswith(("/", "#")), value


def test_our_own_files_come_with_an_address_that_changes_with_them(full: Desk) -> None:
    answer = full.get("/")
    files = re.findall(r'(?:src|href)="(/desk/[a-z]+\.(?:css|js|svg)\?v=[0-9a-f]+)"', answer.text)
    assert len(files) == len(STATIC)
    for file in files:
        found = full.get(file)
        assert found.status_code == 200
        assert "immutable" in found.headers["cache-control"]
        assert found.headers["x-content-type-options"] == "nosniff"


def test_hostile_names_are_shown_harmlessly_wherever_they_stand(empty: Desk) -> None:
    fill_hostile(empty.journal)
    paths = ["/", "/desk/customers", "/desk/events", "/desk/quarantine"]
    paths += [f"/desk/entry?id={number}" for number in (1, 2, 3, 4)]
    paths += [f"/desk/event?id=assemblyai:transcript:h{number}" for number in range(4)]
    paths += [f"/desk/customer?id={quote(name)}" for name in HOSTILE]
    paths += [f"/desk/search?q={quote(name)}%20" for name in HOSTILE[:3]]
    for path in paths:
        answer = empty.get(path)
        if answer.status_code == 303:
            continue
        text = answer.text
        assert answer.status_code == 200, path
        assert "<script>document" not in text
        assert "<img" not in text
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text), path
        assert len(text) < 60_000, "what is very long is cut"
        tags = {element.tag for element in read(text).all()}
        assert "img" not in tags
    customers = page(empty, "/desk/customers").text
    assert r"\u202egnirts desrever\x00\x1b[2J" in customers
    assert "(10,240 characters)" in customers


def test_a_link_with_a_hostile_name_leads_to_just_that_customer(empty: Desk) -> None:
    fill_hostile(empty.journal)
    table = page(empty, "/desk/customers").one("table", id="by-customer")
    hrefs = [link.attributes["href"] for link in table.all("a")]
    names = {unquote_plus(href.partition("?id=")[2]) for href in hrefs}
    assert names == set(HOSTILE)
    for href in hrefs:
        kinds = page(empty, href).one("table", id="by-kind")
        assert kinds.rows()[0][1] == "1"


def test_no_secret_is_on_any_page(acting: tuple[Desk, httpx.Client]) -> None:
    _, client = acting
    for path in PATHS:
        text = client.get(path).text
        for secret in (SECRET, "at-least-32-characters-of-a-secret"):
            assert secret not in text


def test_text_in_another_form_of_address_is_no_fault_of_ours(full: Desk) -> None:
    for path in (
        "/?month=2026-13",
        "/?path=x&self=y&every=30",
        "/?month=%00", "/?every=1", "/?done=%3Cb%3E", "/desk/events?before=-1",
        "/desk/events?before=99999999999999999999", "/desk/customer", "/desk/customer?id=%ff%fe",
        "/desk/letters?state=x&sink=y&after=z", "/desk/quarantine?limit=999999999",
        "/desk/search?q=%00", "/desk/customer?id=%ed%a0%80",
    ):  # fmt: skip
        assert full.get(path).status_code == 200, path
    assert full.get("/?" + "&".join("a=1" for _ in range(30))).status_code == 400
    with full.client() as client:
        assert client.head("/").status_code == 200
        assert client.put("/").status_code == 405
