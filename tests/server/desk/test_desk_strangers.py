"""What strangers send: it costs nobody else anything, and never makes a fault of ours."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from meter.server.desk.forms import Unreadable, form_of
from meter.server.desk.operator import MOST_SIGNING_IN
from meter.server.desk.reader import Busy, Reader
from server.desk.scene import SECRET
from server.desk.serving import Desk
from support.waiting import eventually

if TYPE_CHECKING:
    import httpx

FORM = "application/x-www-form-urlencoded"


def sign_in(client: httpx.Client, **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/desk/login", data={"secret": SECRET, "name": "Dana"}, headers=given)


def cookies_of(desk: Desk) -> str:
    with desk.client() as client:
        assert sign_in(client).status_code == 303
        return "; ".join(f"{name}={value}" for name, value in client.cookies.items())


def no_faults(caplog: pytest.LogCaptureFixture) -> bool:
    return not [record for record in caplog.records if record.exc_info]


# -- cookies ------------------------------------------------------------------------------------


def test_a_cookie_made_to_take_long_takes_no_time(locked: Desk) -> None:
    with locked.client() as client:
        client.get("/desk/login")
        started = time.monotonic()
        answer = client.get("/", headers={"cookie": 'a="' + "\\" * 65_000 + '"'})
        assert answer.status_code == 303
        assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    "others",
    ['prefs={"a":1}', "a[b]=1", "foo", 'theme="dark', "x=a,b", "a b=1", "=", ";;", "x=\xe9"],
)
def test_cookies_of_other_applications_do_not_hide_ours(locked: Desk, others: str) -> None:
    ours = cookies_of(locked)
    with locked.client() as client:
        for cookies in (f"{others}; {ours}", f"{ours};{others}"):
            answer = client.get("/desk/acts", headers={b"cookie": cookies.encode("latin-1")})
            assert answer.status_code == 200, cookies


def test_cookies_may_come_in_several_headers(locked: Desk) -> None:
    ours = cookies_of(locked)
    with locked.client() as client:
        lines = [("cookie", "x=1"), ("cookie", ours), ("cookie", "y=2")]
        assert client.get("/desk/acts", headers=lines).status_code == 200


# -- forms that do not come ------------------------------------------------------------------


def unfinished(desk: Desk, network: int, *, length: int = 100) -> socket.socket:
    """Begin to send a sign-in, and stop."""
    connection = socket.create_connection(("127.0.0.1", desk.port), timeout=20)
    head = (
        f"POST /desk/login HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.{network}\r\n"
        f"Content-Type: {FORM}\r\nContent-Length: {length}\r\n\r\nsecret="
    )
    connection.sendall(head.encode())
    return connection


def test_few_sign_ins_are_waited_for_and_the_others_are_told_at_once(locked: Desk) -> None:
    with ExitStack() as stack, locked.client() as owner, locked.client() as other:
        assert sign_in(owner).status_code == 303
        waiting = [stack.enter_context(unfinished(locked, n)) for n in range(MOST_SIGNING_IN)]
        eventually(lambda: locked.app.running == MOST_SIGNING_IN)
        for number in range(20):
            with unfinished(locked, 100 + number) as refused:
                answer = refused.recv(4096)
                assert answer.startswith(b"HTTP/1.1 503")
                assert b"retry-after: " in answer
        assert locked.app.running == MOST_SIGNING_IN
        assert sign_in(other).status_code == 503
        assert sign_in(owner).status_code == 303, "a browser that was signed in once gets in"
        waiting[0].close()
        eventually(lambda: locked.app.running < MOST_SIGNING_IN)
        assert sign_in(other).status_code == 303


def test_whoever_has_no_try_left_is_told_before_the_form_is_read(locked: Desk) -> None:
    with locked.client(x_forwarded_for="203.0.113.7") as client:
        for _ in range(10):
            client.post("/desk/login", data={"secret": "wrong"})
    with unfinished(locked, 7) as connection:
        assert connection.recv(4096).startswith(b"HTTP/1.1 429")


@pytest.mark.parametrize("length", [8193, 1_000_000, 10**30])
def test_a_sign_in_that_says_it_is_long_is_not_read(locked: Desk, length: int) -> None:
    with unfinished(locked, 1, length=length) as connection:
        answer = connection.recv(4096)
    # Beyond 64 bits it is no length at all, and the server itself refuses it.
    assert answer.startswith(b"HTTP/1.1 413" if length < 2**64 else b"HTTP/1.1 400")


def test_a_form_that_does_not_say_how_long_it_is_is_not_read(locked: Desk) -> None:
    with locked.client() as client:
        headers = {"content-type": FORM}
        answer = client.post("/desk/login", content=iter([b"secret=x"]), headers=headers)
        assert answer.status_code == 411
        assert sign_in(client).status_code == 303
        assert client.post("/desk/act", content=iter([b"a=1"]), headers=headers).status_code == 411


def test_who_cannot_act_is_refused_before_the_form_is_read(empty: Desk) -> None:
    with socket.create_connection(("127.0.0.1", empty.port), timeout=20) as connection:
        head = f"POST /desk/act HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {FORM}\r\n"
        connection.sendall(f"{head}Content-Length: 100\r\n\r\nact=".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 403")


class Slow:
    """A request whose body never ends."""

    query = b""
    is_local = True
    client = "127.0.0.1"
    http_version = "1.1"

    def header(self, name: bytes) -> bytes | None:
        return {b"content-type": FORM.encode(), b"content-length": b"9"}.get(name)

    def headers(self, name: bytes) -> list[bytes]:
        first = self.header(name)
        return [] if first is None else [first]

    async def body(self) -> bytes:
        await asyncio.Event().wait()
        return b""


def test_a_form_that_takes_too_long_is_waited_for_no_longer() -> None:
    with pytest.raises(Unreadable) as refused:
        asyncio.run(form_of(Slow(), seconds=0))
    assert refused.value.status == 408


# -- when the threads are taken ------------------------------------------------------------------


def test_what_needs_no_journal_is_answered_however_much_is_asked(
    locked: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def busy(*_: Any) -> None:
        raise Busy

    ours = cookies_of(locked)
    monkeypatch.setattr(Reader, "run", busy)
    assert locked.get("/desk/login").status_code == 200
    assert locked.get(sec_fetch_site="cross-site").status_code == 200
    many = "/?" + "&".join("a=1" for _ in range(30))
    assert locked.get(many, cookie=ours).status_code == 400
    with locked.client() as client:
        assert client.post("/desk/login", data={"secret": "wrong"}).status_code == 401
    for path in ("/", "/desk/search?q=x", "/desk/acts"):
        answer = locked.get(path, cookie=ours)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert "Load the page again" in answer.text
    assert no_faults(caplog)


def test_without_a_secret_the_refusal_is_answered_however_much_is_asked(
    empty: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def busy(*_: Any) -> None:
        raise Busy

    monkeypatch.setattr(Reader, "run", busy)
    assert empty.get(via="1.1 proxy").status_code == 403
    assert no_faults(caplog)


# -- addresses that are none ----------------------------------------------------------------------


@pytest.mark.parametrize("elsewhere", ["//%5B", "//secret-of-query%E2%84%80x", "//%5Bx%5D/"])
def test_an_address_to_come_back_to_that_is_none_leads_to_the_first_page(
    locked: Desk, elsewhere: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = locked.get(f"/desk/login?next={elsewhere}")
    assert answer.status_code == 200
    assert 'name="next" value="/"' in answer.text
    ours = [str(vars(record)) for record in caplog.records if record.name.startswith("meter")]
    assert not [record for record in ours if "secret-of-query" in record]
    assert no_faults(caplog)


def test_an_address_to_come_back_to_is_left_out_when_the_form_could_not_carry_it(
    locked: Desk,
) -> None:
    with locked.client() as client:
        sent = client.get("/desk/customer?id=" + "%C3%BC" * 5000)
        form = client.get(sent.headers["location"])
        assert 'name="next" value="/"' in form.text


@pytest.mark.parametrize("origin", ["http://[", "http://x\u2100y"])
def test_a_site_that_is_none_is_another_one(
    locked: Desk, origin: str, caplog: pytest.LogCaptureFixture
) -> None:
    with locked.client() as client:
        headers = {b"origin": origin.encode()}
        answer = client.post("/desk/login", data={"secret": SECRET}, headers=headers)
        assert answer.status_code == 401
    assert no_faults(caplog)


@pytest.mark.parametrize("name", ["_block_vars", "_loop_vars", "_Context__obj", "self", "path"])
def test_names_that_no_page_knows_are_not_passed_on(acting: Any, name: str) -> None:
    _, client = acting
    answer = client.get(f"/?{name}=1&month=2026-11")
    assert answer.status_code == 200
    assert f"{name}=1" not in answer.text
    assert 'href="/?month=2026-11"' in answer.text


# -- proxies ------------------------------------------------------------------------------------


def test_a_proxy_that_adds_a_line_of_its_own_is_believed_and_not_the_line_above(
    locked: Desk,
) -> None:
    statuses = []
    with locked.client() as client:
        for number in range(12):
            lines = [("x-forwarded-for", f"1.2.3.{number}"), ("x-forwarded-for", "203.0.113.9")]
            answer = client.post("/desk/login", data={"secret": "wrong"}, headers=lines)
            statuses.append(answer.status_code)
        here = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "203.0.113.8")]
        other = client.post("/desk/login", data={"secret": SECRET}, headers=here)
    assert statuses == [401] * 10 + [429] * 2
    assert other.status_code == 303
