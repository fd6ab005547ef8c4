"""Requests and answers of Stripe's API as plain records, and its form encoding."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qsl

import msgspec

Params: TypeAlias = dict[str, Any]
"""Decoded parameters: texts, or for `a[b]=c` further dictionaries; JSON keeps its own types."""

KEPT_HEADERS = ("content-type", "idempotency-key", "stripe-account", "stripe-version")
"""What the books keep of a request's headers: no key and no credential is among them."""


class StripeAnswer(NamedTuple):
    """What goes back to the client. Header names are lower case; the body is JSON."""

    status: int
    headers: dict[str, str]
    body: bytes

    def document(self) -> Any:
        """Return the decoded body."""
        return msgspec.json.decode(self.body)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StripeRequest:
    """One request as it arrives.

    Attributes:
        method: Upper case.
        path: Without the query.
        query: The raw query string, without the question mark.
        headers: Lower-case names.
        body: The bytes as sent.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""

    @property
    def v2(self) -> bool:
        """Whether it belongs to the API that speaks JSON."""
        return self.path.startswith("/v2/")

    @property
    def idempotency_key(self) -> str | None:
        """The key under which its answer is stored, if it names one."""
        return self.headers.get("idempotency-key")

    def params(self) -> Params:
        """Return the query's and the body's parameters, decoded.

        Raises:
            msgspec.DecodeError: A JSON body is none, or no object.
        """
        if not self.v2:
            return form_params(f"{self.query}&{self.body.decode(errors='replace')}")
        params = form_params(self.query)
        if self.body:
            params |= msgspec.json.decode(self.body, type=dict[str, Any])
        return params


def request_of(
    method: str, path: str, headers: Mapping[str, str], body: bytes | str | None
) -> StripeRequest:
    """Return the record of a request; `path` may carry a query."""
    path, _, query = path.partition("?")
    return StripeRequest(
        method=method.upper(),
        path=path,
        query=query,
        headers={name.lower(): text for name, text in headers.items()},
        body=body.encode() if isinstance(body, str) else body or b"",
    )


def form_params(text: str) -> Params:
    """Decode `a=1&b[c]=2&d[0]=3` into nested dictionaries; of a name given twice the last counts.

    Lists stay dictionaries here, `{"0": …}`: only who knows the parameter knows that it is one.
    """
    params: Params = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        *outer, last = name.replace("]", "").split("[")
        at = params
        for step in outer:
            nested = at.get(step)
            if not isinstance(nested, dict):
                nested = at[step] = {}
            at = nested
        # `expand[]=…` appends.
        at[last or str(len(at))] = value
    return params


def listed(value: Any) -> list[Any]:
    """Return the items of a list parameter, `{"0": a, "1": b}` or JSON's own."""
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list) else [value]
