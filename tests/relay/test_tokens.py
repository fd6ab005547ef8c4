"""Who gets in: every bad token is refused in the provider's own way, and nothing is opened."""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from urllib.parse import quote

import jwt
import pytest

from relay.running import SECRET, UPSTREAM_KEY, Relayed, Start, token
from relay.wire import Provider, Wire, accepting, request
from support.waiting import eventually


def unsigned(header: Any, claims: Any, signature: str = "") -> str:
    def part(content: Any) -> str:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    return f"{part(header)}.{part(claims)}.{signature}"


GOOD = {"aud": "live", "sub": "acme", "exp": 4_000_000_000}
REFUSED = {
    "garbage": "garbage",
    "garbage with two dots": "a.b.c",
    "not ascii": "t\xf6k\xe9n",
    "dots only": "..",
    "a bearer's": f"Bearer {token()}",
    "AssemblyAI's own key": UPSTREAM_KEY,
    "the secret itself": SECRET,
    "expired": token(exp=int(time.time()) - 1),
    "without an expiry": token(exp=None),
    "expiry is text": token(exp="soon"),
    "expiry is NaN": token(exp=float("nan")),
    "expiry is infinite": token(exp=float("inf")),
    "not valid yet": token(nbf=int(time.time()) + 3600),
    "not valid at any time": token(nbf="now"),
    "forged": token(secret="another-secret-of-at-least-32-characters"),
    "unsigned": unsigned({"alg": "none", "typ": "JWT"}, GOOD),
    "unsigned, in capitals": unsigned({"alg": "None"}, GOOD),
    "another algorithm": token(algorithm="HS512", secret=SECRET * 2),
    "another algorithm, the same secret": jwt.api_jws.encode(
        json.dumps(GOOD).encode(), SECRET * 2, algorithm="HS384"
    ),
    "algorithm is a list": unsigned({"alg": ["HS256"]}, GOOD, "AAAA"),
    "a header of brackets": unsigned(b"[" * 5000, GOOD, "AAAA"),
    "claims of brackets": unsigned({"alg": "HS256"}, b"[" * 5000, "AAAA"),
    "header is a number": unsigned(1, GOOD, "AAAA"),
    "another audience": token(aud="apps"),
    "no audience": token(aud=None),
    "audience is a number": token(aud=1),
    "no customer": token(sub=None),
    "empty customer": token(sub=""),
    "customer is a number": token(sub=7),
    "customer is no text that can be kept": token(sub="\ud800"),
    "dimensions are a list": token(dimensions=["a"]),
    "dimensions are no text": token(dimensions={"project": 1}),
    "dimensions are nested": token(dimensions={"project": {"a": "b"}}),
    "dimensions that cannot be kept": token(dimensions={"a": "\udfff"}),
    "dimension names that cannot be kept": token(dimensions={"\udfff": "a"}),
    "session's cap is NaN": token(max_session_seconds=float("nan")),
    "session's cap is negative": token(max_session_seconds=-5),
    "session's cap is zero": token(max_session_seconds=0),
    "session's cap is infinite": token(max_session_seconds=float("inf")),
    "session's cap is true": token(max_session_seconds=True),
    "session's cap is text": token(max_session_seconds="60"),
    "single use is text": token(single_use="yes"),
    "single use without an id": token(single_use=True, jti=None),
    "id is a number": token(jti=5),
}


def assert_turned_away(wire: Wire, code: int = 1008, *, name: str = "") -> str:
    """The provider's own way: 101, an Error that says why, and a close with its code."""
    assert wire.status == 101, name or wire.head
    (error,) = wire.rest()
    assert error["type"] == "Error"
    assert error["error_code"] == wire.code == code
    assert wire.reason.startswith("Unauthorized Connection: ")
    return str(error["error"])


def assert_nothing_was_opened(relayed: Relayed, provider: Provider) -> None:
    assert provider.connections == 0
    assert relayed.openings() == 0
    assert relayed.rows("SELECT * FROM used_tokens") == []
    assert relayed.sessions() == {}
    assert relayed.quarantined() == []


def test_every_bad_token_is_refused_in_the_handshake_and_nothing_is_opened(
    relayed: Relayed, provider: Provider
) -> None:
    for name, bad in REFUSED.items():
        error = assert_turned_away(relayed.dial(bad), name=name)
        assert bad not in error, name
        # As a browser gives it.
        asking = relayed.connect()
        asking.raw(request(f"/v3/ws?token={quote(bad)}&sample_rate=16000"))
        asking.read_head()
        assert_turned_away(asking)
    assert_nothing_was_opened(relayed, provider)


@pytest.mark.parametrize(
    "path", ["/v3/ws", "/v3/ws?", "/v3/ws?token=", "/v3/ws?token", "/v3/ws?TOKEN=%s"]
)
def test_without_a_token_nothing_is_opened(relayed: Relayed, provider: Provider, path: str) -> None:
    wire = relayed.connect()
    wire.raw(request(path.replace("%s", token())))
    wire.read_head()
    assert "Missing Authorization header" in assert_turned_away(wire)
    assert_nothing_was_opened(relayed, provider)


def test_a_token_that_no_header_line_holds_is_refused_and_nothing_is_opened(
    relayed: Relayed, provider: Provider
) -> None:
    endless = token(dimensions={"padding": "x" * 9000})
    assert relayed.dial(endless).status == 400
    assert relayed.dial("", query={"token": endless}).status == 400
    assert_nothing_was_opened(relayed, provider)


def test_one_who_was_turned_away_has_its_close_answered_by_the_end_of_the_connection(
    relayed: Relayed,
) -> None:
    wire = relayed.dial("garbage")
    assert_turned_away(wire)  # and answers
    assert wire.read_all() == b""


def test_a_header_stands_before_the_query(relayed: Relayed, provider: Provider) -> None:
    assert relayed.dial(token(sub="header"), query={"token": "garbage"}).status == 101
    assert "garbage" not in provider.accept().head.decode()
    assert_turned_away(relayed.dial("garbage", query={"token": token()}))
    assert provider.connections == 1


def test_a_token_that_may_be_used_again_opens_as_many_sessions_as_it_likes(
    relayed: Relayed, provider: Provider
) -> None:
    again = token()
    assert [relayed.dial(again).status for _ in range(3)] == [101] * 3
    assert [provider.accept().status for _ in range(3)] == [0] * 3


def test_a_single_use_token_opens_one_session(relayed: Relayed, provider: Provider) -> None:
    once = token(single_use=True)
    assert relayed.dial(once).status == 101
    provider.accept().say("Begin", id="s1")
    assert "used before" in assert_turned_away(relayed.dial(once))
    assert provider.connections == 1


def test_of_many_who_use_a_single_use_token_at_once_one_gets_in(
    relayed: Relayed, provider: Provider
) -> None:
    once = token(single_use=True)
    wires = [relayed.connect() for _ in range(8)]
    for wire in wires:
        wire.raw(request("/v3/ws", headers={"Authorization": once}))
    provider.accept().close(1000)
    codes = []
    for wire in wires:
        wire.read_head()
        wire.rest()
        codes.append(wire.code)
    assert sorted(codes, key=str) == [1000] + [1008] * 7
    assert provider.connections == 1


def test_a_single_use_token_whose_session_never_came_to_be_may_be_used_again(
    start: Start,
) -> None:
    provider = Provider(listening=False)
    relayed = start(provider.url)
    once = token(single_use=True)
    assert relayed.dial(once).status == 502
    assert relayed.dial(once).status == 502
    eventually(lambda: relayed.openings() == 0)
    provider.listen()
    provider.answer_next(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n")
    assert relayed.dial(once).status == 429
    assert relayed.dial(once).status == 101
    assert_turned_away(relayed.dial(once))
    provider.stop()


@pytest.mark.parametrize(
    "spelling",
    ["token={t}", "%74oken={t}", "tok%65n={t}", "a=1&token=x&token={t}", "%74%6f%6b%65%6E={t}&b"],
)
def test_neither_a_token_nor_the_customer_goes_upstream_and_the_key_does(
    relayed: Relayed, provider: Provider, spelling: str
) -> None:
    mine = token(sub="the-customer", dimensions={"project": "the-project"})
    wire = relayed.connect()
    query = spelling.format(t=mine) + "&sample_rate=16000&x=%C3%A4+y"
    wire.raw(request(f"/v3/ws?{query}", headers={"Cookie": "secret", "User-Agent": "app/1"}))
    wire.read_head()
    assert wire.status == 101
    upstream = provider.accept()
    head = upstream.head.decode()
    for hidden in (mine, mine.split(".")[2], "oken", "the-customer", "the-project", "secret"):
        assert hidden not in head
    assert head.split(" ")[1].endswith("sample_rate=16000&x=%C3%A4+y&session_heartbeat=true")
    assert upstream.header("authorization") == UPSTREAM_KEY
    assert upstream.header("user-agent") == "app/1"


def test_the_key_never_comes_back_to_the_application(relayed: Relayed, provider: Provider) -> None:
    def refuse(wire: Wire) -> None:
        body = b'{"error":"no"}'
        wire.raw(
            b"HTTP/1.1 401 Unauthorized\r\nx-echo: "
            + UPSTREAM_KEY.encode()
            + b"\r\ncontent-length: %d\r\n\r\n" % len(body)
            + body
        )

    provider.answer_next(refuse, lambda wire: wire.raw(accepting(wire.head)))
    refused = relayed.dial()
    assert refused.status == 401
    assert UPSTREAM_KEY.encode() not in refused.head + refused.read_all()


def test_a_session_cap_is_never_longer_for_being_short(
    relayed: Relayed, provider: Provider
) -> None:
    client = relayed.dial(max_session_seconds=1e-7)
    if client.status == 101:
        upstream = provider.accept()
        upstream.socket.settimeout(2)
        assert upstream.hear() == {"type": "Terminate"}
