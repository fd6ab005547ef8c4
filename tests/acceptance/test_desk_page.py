"""The operator's page in a real Chromium: accessible, legible, live, and usable without a mouse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from importlib.resources import files
from typing import Final
from urllib.parse import quote

import pytest

from acceptance.devtools import Browser, has_chromium
from acceptance.process import wait_until
from server.desk.scene import REFUSED, SECRET, SESSION, fill, fill_hostile
from server.desk.serving import Desk, served

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(
        not has_chromium(), reason="there is no Chromium here; Debian's package is `chromium`"
    ),
]

PHONE, DESKTOP = (360, 740), (1280, 900)
TAB, ENTER = ("Tab", 9), ("Enter", 13)
FOCUSED: Final = "document.activeElement"
MAIN: Final = ("/", f"/desk/event?id={REFUSED}", "/desk/customer?id=acme")
PAGES: Final = (
    *MAIN,
    "/desk/customers",
    "/desk/events",
    f"/desk/session?id={SESSION}",
    "/desk/letters",
    "/desk/quarantine",
    "/desk/entry?id=2",
    "/desk/acts",
    "/desk/search?q=nobody",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("browser"))
    browser.axe = (files("axe_core_python") / "axe.min.js").read_text()
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """The page of a journal in every trouble, hostile names too, behind a secret."""
    with served(tmp_path_factory.mktemp("desk"), secret=SECRET) as desk:
        fill(desk.journal, desk.clock.now())
        fill_hostile(desk.journal)
        yield desk


@pytest.fixture
def seen(browser: Browser, desk: Desk) -> Iterator[Browser]:
    """A browser that has signed in; at the end nothing may have been complained of."""
    browser.complaints.clear()
    browser.see(*DESKTOP)
    browser.open(f"{desk.url}/")
    if browser.evaluate("location.pathname") == "/desk/login":
        browser.type("Dana")
        browser.press(*TAB)
        browser.type(SECRET)
        browser.loaded_by("document.forms[0].requestSubmit()")
    assert browser.evaluate("location.pathname") == "/"
    yield browser
    assert browser.complaints == []


def faults(browser: Browser) -> list[str]:
    """Let the accessibility checker look; whatever it finds, serious or not, is a fault."""
    if not browser.evaluate("!!window.axe"):
        browser.evaluate(browser.axe)
    found: list[str] = json.loads(
        browser.evaluate(
            "axe.run(document, {preload: false}).then(r => JSON.stringify(r.violations.map(v =>"
            " `${v.impact} ${v.id}: ${v.nodes.map(n => n.html.slice(0, 200)).slice(0, 3)}`)))"
        )
    )
    return found


def overflow(browser: Browser) -> int:
    return int(
        browser.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
    )


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_accessible_and_fits_light_and_dark_on_a_phone_and_a_desk(
    seen: Browser, desk: Desk, path: str
) -> None:
    for size in (DESKTOP, PHONE):
        seen.see(*size)
        seen.open(desk.url + path)
        for dark in (False, True) if path in MAIN else (size is PHONE,):
            seen.see(*size, dark=dark)
            assert faults(seen) == [], (size, dark)
        assert overflow(seen) == 0, size
        assert seen.evaluate("document.title") != "harmed"
    dark_paper = seen.evaluate("getComputedStyle(document.body).backgroundColor")
    seen.see(*DESKTOP)
    assert dark_paper != seen.evaluate("getComputedStyle(document.body).backgroundColor")


def test_the_checker_sees_what_is_wrong(seen: Browser) -> None:
    seen.evaluate("document.querySelector('#q').labels[0].remove()")
    seen.evaluate("document.querySelector('#q').placeholder = ''")
    seen.evaluate("document.querySelector('.quiet').setAttribute('style', 'color: #ddd')")
    seen.complaints.clear()  # the policy forbids the last, and says so
    (fault,) = faults(seen)
    assert "label" in fault


def test_the_sign_in_is_accessible_and_done_with_the_keyboard_alone(
    browser: Browser, desk: Desk
) -> None:
    browser.complaints.clear()
    browser.call("Network.clearBrowserCookies")
    for size in (DESKTOP, PHONE):
        browser.see(*size)
        browser.open(f"{desk.url}/desk/entry?id=2")
        for dark in (False, True):
            browser.see(*size, dark=dark)
            assert faults(browser) == []
        assert overflow(browser) == 0
    assert browser.evaluate(f"{FOCUSED}.id") == "name"
    browser.type("Dana")
    browser.press(*TAB)
    browser.type(SECRET)
    browser.press(*ENTER)
    browser.wait_for("Page.loadEventFired")
    assert browser.evaluate("location.pathname + location.search") == "/desk/entry?id=2"
    assert browser.complaints == []


def test_the_keyboard_alone_gets_everywhere_and_shows_where_it_is(
    seen: Browser, desk: Desk
) -> None:
    seen.open(f"{desk.url}/")
    seen.press(*TAB)
    assert seen.evaluate(f"{FOCUSED}.textContent") == "Skip to the content"
    wait_until(lambda: seen.evaluate(f"{FOCUSED}.getBoundingClientRect().top") >= 0)
    seen.press(*ENTER)
    assert seen.evaluate(f"{FOCUSED}.id") == "main"
    seen.press(*TAB)
    assert seen.evaluate(f"document.querySelector('#needs').contains({FOCUSED})")
    seen.evaluate("document.activeElement.blur()")
    seen.open(f"{desk.url}/")
    reached = []
    for _ in range(60):
        seen.press(*TAB)
        outline = seen.evaluate(f"getComputedStyle({FOCUSED}).outlineStyle")
        assert outline != "none", seen.evaluate(f"{FOCUSED}.outerHTML")
        reached.append(seen.evaluate(f"{FOCUSED}.textContent.trim()"))
        if reached[-1] == "Every day in a table":
            break
    assert {"Overview", "Dead letters", "Find", "Every day in a table"} <= set(reached)
    seen.press(*ENTER)
    assert seen.evaluate("document.querySelector('#usage-table').open")


def test_a_dead_letter_is_freed_with_the_keyboard_alone(seen: Browser, desk: Desk) -> None:
    seen.open(f"{desk.url}/desk/event?id={REFUSED}")
    seen.evaluate("document.querySelector('input[name=reason]').focus()")
    seen.type("the column is there now")
    seen.press(*TAB)
    assert seen.evaluate(f"{FOCUSED}.textContent") == "Offer it again"
    seen.press(*ENTER)
    seen.wait_for("Page.loadEventFired")
    assert "Offered again" in seen.evaluate("document.querySelector('[role=status]').textContent")
    assert seen.evaluate("document.body.textContent").count("Dana@page offered again") == 1


def test_open_sessions_are_live_until_somebody_pauses_that(seen: Browser, desk: Desk) -> None:
    seen.open(f"{desk.url}/desk/session?id={SESSION}")
    text = "document.querySelector('#story').textContent"
    assert "at least 777 s" not in seen.evaluate(text)
    desk.journal.sessions.lengthen([(SESSION, Decimal(777))]).wait()
    desk.later()
    wait_until(lambda: "at least 777 s" in seen.evaluate(text))
    assert seen.evaluate("document.querySelector('[data-live-when]').textContent").startswith(
        "Updated"
    )
    seen.evaluate("document.querySelector('[data-pause]').click()")
    assert seen.evaluate("document.querySelector('[data-pause]').ariaPressed") == "true"
    assert "paused" in seen.evaluate("document.querySelector('[data-live-when]').textContent")


def test_without_scripts_the_page_says_all_of_it_and_loads_itself_again_when_asked(
    seen: Browser, desk: Desk
) -> None:
    seen.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        seen.open(f"{desk.url}/")
        again = seen.call("DOM.getDocument", depth=-1)
        html = seen.call("DOM.getOuterHTML", nodeId=again["root"]["nodeId"])["outerHTML"]
    finally:
        seen.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "warehouse is parked" in html
    assert SESSION in html
    assert 'href="/?every=30"' in html
    assert 'http-equiv="refresh" content="30"' in desk_page(seen, f"{desk.url}/?every=30")


def desk_page(browser: Browser, url: str) -> str:
    browser.open(url)
    return str(browser.evaluate("document.head.innerHTML"))


def test_a_link_from_another_site_leads_in_without_signing_in_again(
    seen: Browser, desk: Desk
) -> None:
    where = f"{desk.url}/desk/customer?id=acme"
    seen.open(f"data:text/html,{quote(f'<a href={where}>meter</a>')}")
    seen.loaded_by("document.querySelector('a').click()")
    wait_until(
        lambda: seen.evaluate("document.querySelector('h1')?.textContent") == "acme", seconds=20
    )
    assert seen.evaluate("location.pathname") == "/desk/customer"


def test_the_page_cannot_be_framed_not_even_by_its_own_site(browser: Browser, desk: Desk) -> None:
    browser.open(f"{desk.url}/healthz")
    frame = "document.body.appendChild(Object.assign(document.createElement('iframe'), {src}))"
    shown = browser.evaluate(
        f"new Promise(done => {{ const src = '/desk/login'; const frame = {frame};"
        " frame.onload = () => done(frame.contentDocument?.title ?? null) })"
    )
    assert shown is None
    browser.complaints.clear()
