"""Who sees the page, who may act, and what a browser keeps of a sign-in."""

from __future__ import annotations

import socket
from http.cookies import SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from server.desk.scene import REFUSED, SECRET
from server.desk.serving import Desk, served

if TYPE_CHECKING:
    import httpx

FORWARDING = (
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "forwarded",
    "via",
    "x-real-ip",
    "cf-connecting-ip",
)


def sign_in(client: httpx.Client, secret: str = SECRET, **given: str) -> httpx.Response:
    data = {"secret": secret, "name": "Dana", **given}
    return client.post("/desk/login", data=data)


# -- without a secret -----------------------------------------------------------------------


def test_without_a_secret_a_browser_on_this_machine_sees_the_page(empty: Desk) -> None:
    for host in ("127.0.0.1", "localhost", "meter.localhost", "[::1]"):
        assert empty.get(host=f"{host}:{empty.port}").status_code == 200, host
    assert "Everybody on this machine" in empty.get().text


def test_without_a_secret_nobody_behind_a_proxy_sees_it(empty: Desk) -> None:
    for header in FORWARDING:
        answer = empty.get(**{header: "203.0.113.7"})
        assert answer.status_code == 403, header
        assert "server:\n  admin_secret" in answer.text
        assert "Sinks" not in answer.text


def test_without_a_secret_a_proxy_that_says_nothing_but_speaks_http_1_0_sees_nothing(
    empty: Desk,
) -> None:
    with socket.create_connection(("127.0.0.1", empty.port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    "host", ["meter.example.com", "127.0.0.1.example.com", "localhost.evil", ""]
)
def test_without_a_secret_a_name_that_may_be_anybodys_sees_nothing(empty: Desk, host: str) -> None:
    assert empty.get(host=host).status_code == 403


def test_without_a_secret_it_is_off_where_meter_listens_to_others(tmp_path: Path) -> None:
    with served(tmp_path, host="0.0.0.0") as desk:
        assert desk.get().status_code == 403


def test_without_a_secret_nobody_can_act(empty: Desk) -> None:
    with empty.client() as client:
        page = client.post("/desk/act", data={"act": "retry", "sink": "ledger", "event": REFUSED})
        assert page.status_code == 403
        assert client.post("/desk/login", data={"secret": ""}).status_code == 403
        assert client.get("/desk/login").headers["location"] == "/"


# -- with a secret ------------------------------------------------------------------------------


def test_with_a_secret_everybody_signs_in_and_comes_to_where_they_wanted(locked: Desk) -> None:
    with locked.client() as client:
        sent = client.get("/desk/customer?id=M%C3%BCller+%26+S%C3%B6hne")
        assert sent.status_code == 303
        form = client.get(sent.headers["location"])
        assert form.status_code == 200
        assert 'name="secret" type="password"' in form.text
        assert 'value="/desk/customer?id=M%C3%BCller+%26+S%C3%B6hne"' in form.text
        back = "/desk/customer?id=M%C3%BCller+%26+S%C3%B6hne"
        came = sign_in(client, next=back)
        assert (came.status_code, came.headers["location"]) == (303, back)
        page = client.get(back)
        assert page.status_code == 200
        assert "Signed in as <bdi>Dana</bdi>" in page.text


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example",
        "//evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "/metrics",
    ],
)
def test_signing_in_never_leads_to_another_site(locked: Desk, elsewhere: str) -> None:
    with locked.client() as client:
        assert sign_in(client, next=elsewhere).headers["location"] == "/"


def test_a_wrong_secret_is_refused_and_no_cookie_is_set(locked: Desk) -> None:
    with locked.client() as client:
        for secret in ("", "wrong", SECRET[:-1], f"{SECRET} "):
            answer = sign_in(client, secret)
            assert answer.status_code == 401
            assert "That is not the secret." in answer.text
            assert "set-cookie" not in answer.headers
        assert SECRET not in answer.text


def test_the_cookie_is_for_this_site_alone_and_for_https_where_that_is_spoken(locked: Desk) -> None:
    with locked.client() as client:
        plain = sign_in(client).headers.get_list("set-cookie")
    with locked.client(x_forwarded_proto="https") as client:
        secure = sign_in(client).headers.get_list("set-cookie")
    for given, is_secure in ((plain, False), (secure, True)):
        for text in given:
            (cookie,) = SimpleCookie(text).values()
            assert cookie["httponly"]
            assert (cookie["samesite"], cookie["path"]) == ("Strict", "/")
            assert bool(cookie["secure"]) is is_secure
            assert SECRET not in text


def test_a_sign_in_ends_after_half_a_day(locked: Desk) -> None:
    with locked.client() as client:
        sign_in(client)
        locked.later(hours=11, minutes=59)
        assert client.get("/").status_code == 200
        locked.later(minutes=2)
        assert client.get("/").status_code == 303


def test_who_signs_out_is_out_even_with_a_copy_of_the_cookie(locked: Desk) -> None:
    with locked.client() as client, locked.client() as thief, locked.client() as other:
        sign_in(client)
        sign_in(other)
        thief.cookies = client.cookies
        page = client.get("/").text
        token = page.split('name="token" value="')[1].split('"')[0]
        assert client.post("/desk/logout", data={"token": "x"}).headers["location"] == "/"
        assert thief.get("/").status_code == 200, "a wrong token ends nothing"
        copied = dict(client.cookies)
        assert client.post("/desk/logout", data={"token": token}).status_code == 303
        assert client.get("/").status_code == 303
        assert (
            locked.get(cookie="; ".join(f"{k}={v}" for k, v in copied.items())).status_code == 303
        )
        assert other.get("/").status_code == 200


def test_another_secret_ends_every_sign_in(tmp_path: Path) -> None:
    with served(tmp_path, secret=SECRET) as desk, desk.client() as client:
        sign_in(client)
        cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        assert desk.get(cookie=cookies).status_code == 200
    with served(tmp_path, secret=SECRET) as desk:
        assert desk.get(cookie=cookies).status_code == 200, "a restart alone ends none"
    with served(tmp_path, secret=f"{SECRET}2") as desk:
        assert desk.get(cookie=cookies).status_code == 303


@pytest.mark.parametrize("cookie", ["x", "a.b.c", "=", '"', "\xff", "x" * 5000])
def test_a_cookie_that_is_none_of_ours_opens_nothing(locked: Desk, cookie: str) -> None:
    name = f"meter-desk-{locked.journal.journal_id[:8]}"
    with locked.client() as client:
        answer = client.get("/", headers={b"cookie": f"{name}={cookie}".encode("latin-1")})
        assert answer.status_code == 303


def test_the_cookie_of_a_known_browser_opens_nothing(locked: Desk) -> None:
    with locked.client() as client:
        sign_in(client)
        known = client.cookies[f"meter-known-{locked.journal.journal_id[:8]}"]
    name = f"meter-desk-{locked.journal.journal_id[:8]}"
    assert locked.get(cookie=f"{name}={known}").status_code == 303


def test_who_comes_by_a_link_from_another_site_is_let_through_by_a_page_of_ours(
    locked: Desk,
) -> None:
    page = locked.get(sec_fetch_site="cross-site")
    assert page.status_code == 200
    assert '<meta http-equiv="refresh" content="0">' in page.text
    assert locked.get(sec_fetch_site="same-origin").status_code == 303


# -- wrong tries -------------------------------------------------------------------------------


def tries_until_refused(client: httpx.Client) -> int:
    for number in range(100):
        if sign_in(client, "wrong").status_code == 429:
            return number
    raise AssertionError("never refused")


def test_tries_are_limited_for_whoever_guesses_and_for_nobody_else(locked: Desk) -> None:
    with (
        locked.client(x_forwarded_for="198.51.100.1, 203.0.113.7") as guessing,
        locked.client(x_forwarded_for="203.0.113.8") as other,
        locked.client() as here,
    ):
        assert tries_until_refused(guessing) == 10
        refused = sign_in(guessing)
        assert refused.status_code == 429, "not even the right one is looked at"
        assert int(refused.headers["retry-after"]) <= 6
        guessing.headers["x-forwarded-for"] = "192.0.2.99, 203.0.113.7"
        assert sign_in(guessing).status_code == 429, "whatever the guesser says"
        assert sign_in(other).status_code == 303
        assert sign_in(here).status_code == 303
        locked.clock.advance(seconds=6)
        assert sign_in(guessing).status_code == 303


def test_a_browser_that_was_signed_in_once_is_not_kept_out_by_its_neighbour(locked: Desk) -> None:
    same = "203.0.113.7"
    with (
        locked.client(x_forwarded_for=same) as owner,
        locked.client(x_forwarded_for=same) as guessing,
    ):
        assert sign_in(owner).status_code == 303
        locked.later(hours=13)
        tries_until_refused(guessing)
        assert owner.get("/").status_code == 303, "it has to sign in again"
        assert sign_in(owner).status_code == 303


# -- forms ----------------------------------------------------------------------------------


def test_a_form_of_another_site_does_nothing(locked: Desk) -> None:
    with locked.client() as client:
        for header, value in (
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
        ):
            answer = client.post("/desk/login", data={"secret": SECRET}, headers={header: value})
            assert answer.status_code == 401, header
        sign_in(client)
        token = client.get("/").text.split('name="token" value="')[1].split('"')[0]
        form = {"act": "drop", "entry": "1", "reason": "r", "token": token}
        done = client.post("/desk/act", data=form, headers={"sec-fetch-site": "same-site"})
        assert done.status_code == 403
        done = client.post("/desk/act", data=form, headers={"origin": "https://evil.example"})
        assert done.status_code == 403


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 400),
        ("application/x-www-form-urlencoded", b"a=" + b"x" * 70_000, 413),
        ("application/x-www-form-urlencoded", b"&".join(b"a=1" for _ in range(30)), 400),
        ("multipart/form-data; boundary=x", b"--x--", 400),
    ],
)
def test_what_is_no_form_of_ours_is_refused(
    locked: Desk, content_type: str, body: bytes, status: int
) -> None:
    with locked.client() as client:
        headers = {"content-type": content_type}
        assert client.post("/desk/login", content=body, headers=headers).status_code == status
        sign_in(client)
        assert client.post("/desk/act", content=body, headers=headers).status_code == status
