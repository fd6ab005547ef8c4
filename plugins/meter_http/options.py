"""The options of `type: http`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from meter.sinks import Duration, FilePath, Options, Secret
from meter_http.addresses import address_fault, is_loopback, origin
from meter_http.signing import key_of
from meter_http.template import Envelope, Template

__all__ = ["BodyOptions", "CustomersFrom", "HttpOptions", "ResultsOptions"]

Kind = Literal["async_completed", "stream_terminated", "async_failed", "stream_abandoned"]

MOST_EVENTS: Final = 100
"""Events in one request: what Lago and Metronome take at the most, and a batch of delivery."""
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE: Final = re.compile(r"[!-~]([ \t!-~]*[!-~])?")
_OWN_HEADERS: Final = frozenset(
    {
        *("accept-encoding", "connection", "content-encoding"),
        *("content-length", "host", "transfer-encoding"),
    }
)
_KIND_OR_TEXT: Final = re.compile(r"(?:[^{}]|\{kind\})+")


def _address(url: str) -> str:
    if fault := address_fault(url):
        raise ValueError(fault)
    return url


def _template(source: Any) -> Any:
    if not isinstance(source, dict) or not source:
        raise ValueError("a mapping of the destination's fields to texts with placeholders")
    Template(source)
    return source


def _envelope(source: Any) -> Any:
    Envelope(source)
    return source


def _type_text(text: str) -> str:
    if not _KIND_OR_TEXT.fullmatch(text):
        raise ValueError("text in which no other placeholder stands than {kind}")
    return text


def _header_names(headers: dict[str, Secret]) -> dict[str, Secret]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError("the names of HTTP headers, such as Authorization, as keys")
        if name.lower() in _OWN_HEADERS or name.lower().startswith(("ce-", "webhook-")):
            raise ValueError(f"the header {name} is made by this sink; leave it out")
        if not _HEADER_VALUE.fullmatch(value.get_secret_value()):
            raise ValueError(
                f"the header {name} has a value that cannot be sent: it is empty, begins or ends "
                "with a blank, or holds a line break or a letter beyond ASCII"
            )
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("a header stands here twice; upper and lower case are the same")
    return headers


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _keys(secrets: list[Secret]) -> list[Secret]:
    for secret in secrets:
        key_of(secret.get_secret_value())
    return secrets


class BodyOptions(Options):
    """A body of the destination's own shape."""

    event: Annotated[
        Any,
        AfterValidator(_template),
        Field(description="One event: the destination's fields, as texts with placeholders."),
    ]
    batch: Annotated[
        Any,
        AfterValidator(_envelope),
        Field(
            description="What stands around them: `{events}` is the list; with `{event}` each "
            "event is a request of its own."
        ),
    ] = "{events}"


class CustomersFrom(Options):
    """Where a customer's name at the destination is found."""

    file: Annotated[
        FilePath,
        Field(
            description="A file of `customer_id: name`; one whose name ends in .csv has two "
            "columns instead. Read again when it changes; who is not in it is held."
        ),
    ]


class ResultsOptions(Options):
    """Where an answer says what became of each event."""

    path: Annotated[
        str,
        Field(
            min_length=1,
            description="Keys that lead to it in the answer's JSON, such as `error_details` or "
            "`result.items`: a mapping from event to error, or a list.",
        ),
    ]
    key: Annotated[
        Literal["index", "id"],
        Field(description="What names an event: its place in the request from 0, or its id."),
    ] = "index"
    key_field: Annotated[
        str | None,
        Field(description="In a list: the key of an entry that names its event. Default: order."),
    ] = None
    error_field: Annotated[
        str | None,
        Field(
            description="The key of an entry that holds its error; an entry without is delivered. "
            "Default: every entry is an error."
        ),
    ] = None
    status_field: Annotated[
        str | None,
        Field(description="The key of an entry that holds a status, read like one of HTTP."),
    ] = None


class HttpOptions(Options):
    """Options of `type: http`."""

    url: Annotated[
        str,
        AfterValidator(_address),
        Field(description="Where to POST; credentials belong into `headers`.", repr=False),
    ]
    headers: Annotated[
        dict[str, Secret],
        AfterValidator(_header_names),
        Field(description="Sent with each request; their values are never shown."),
    ] = Field(default={})
    mode: Annotated[
        Literal["batch", "structured", "binary"] | None,
        Field(
            description="How CloudEvents are sent. Default: batch; structured and binary send one "
            "event a request."
        ),
    ] = None
    event_type: Annotated[
        Annotated[str, AfterValidator(_type_text), Field(min_length=1)]
        | dict[Kind, Annotated[str, Field(min_length=1)]],
        Field(description="The `type` of the CloudEvents: a text, or a mapping by kind."),
    ] = "meter.{kind}"
    source: Annotated[
        str,
        Field(
            pattern="^[!-~]+$",
            description="The `source` of the CloudEvents. A repeat is known by source and id: "
            "leave it when the journal moves.",
        ),
    ] = "meter"
    data: Annotated[
        Any,
        AfterValidator(lambda source: source if source is None else _template(source)),
        Field(
            description="A template for the `data` of CloudEvents. Default: docs/http.md.",
            repr=False,
        ),
    ] = None
    body: Annotated[
        BodyOptions | None,
        Field(
            description="A body of the destination's own shape instead of CloudEvents.", repr=False
        ),
    ] = None
    numbers: Annotated[
        Literal["text", "number"],
        Field(
            description="How quantities stand in JSON: as texts, or as numbers of the same digits."
        ),
    ] = "text"
    customers: Annotated[
        CustomersFrom | None,
        Field(
            description="Customers' names at the destination, for `subject` and `{customer}`. "
            "Default: the customer_id itself."
        ),
    ] = None
    results: Annotated[
        ResultsOptions | None, Field(description="Where an answer speaks of single events.")
    ] = None
    duplicate_statuses: Annotated[
        list[Annotated[int, Field(ge=400, le=499)]],
        Field(description="Statuses by which an event alone in its request was there already."),
    ] = Field(default=[409])
    duplicate_words: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        BeforeValidator(_one_or_many),
        WithJsonSchema(
            {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
        ),
        Field(description="Words of a refusal that say the same, such as value_already_exist."),
    ] = Field(default=[])
    refused_statuses: Annotated[
        list[Annotated[int, Field(ge=400, le=499)]],
        Field(
            description="Statuses that are about the events sent. Of the other 4xx, 408, 421, 425 "
            "and 429 are tried again, and the rest parks the sink."
        ),
    ] = Field(default=[400, 409, 413, 414, 422, 431])
    signing_secret: Annotated[
        list[Secret],
        BeforeValidator(_one_or_many),
        AfterValidator(_keys),
        WithJsonSchema(
            {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
        ),
        Field(
            description="`whsec_…`: sign each request by Standard Webhooks; several while one "
            "replaces the other."
        ),
    ] = Field(default=[])
    max_events: Annotated[
        int, Field(ge=1, le=MOST_EVENTS, description="Most events in one request.")
    ] = MOST_EVENTS
    max_bytes: Annotated[
        int, Field(ge=1024, description="The largest body, bytes, before it is compressed.")
    ] = 1_000_000
    gzip: Annotated[bool, Field(description="Compress bodies.")] = False
    timeout: Annotated[
        Duration, Field(description="How long to wait for the connection, and for the answer.")
    ] = timedelta(seconds=15)
    allow_http: Annotated[
        bool,
        Field(description="Allow http:// to other machines: everything can be read on the way."),
    ] = False
    check_url: Annotated[
        str | None,
        AfterValidator(lambda url: url if url is None else _address(url)),
        Field(
            description="On the same host: what `meter check --connect` GETs with `headers` to try "
            "the key; 2xx is well.",
            repr=False,
        ),
    ] = None

    @model_validator(mode="after")
    def _sound(self) -> HttpOptions:
        if self.url.startswith("http://") and not self.allow_http and not is_loopback(self.url):
            raise ValueError("url: https:// is expected; `allow_http: true` allows http://")
        if self.check_url is not None and origin(self.check_url) != origin(self.url):
            raise ValueError("check_url: the scheme, host and port of `url`: keys go nowhere else")
        if not timedelta(seconds=0.1) <= self.timeout <= timedelta(minutes=5):
            raise ValueError("timeout: expected 100ms to 5m")
        if self.gzip and self.signing_secret:
            raise ValueError("gzip: not with signing_secret; receivers differ in what they verify")
        self._check_form()
        return self

    def _check_form(self) -> None:
        if self.body is None:
            if any(name.lower() == "content-type" for name in self.headers):
                raise ValueError("headers: Content-Type is CloudEvents' own; it goes with `body`")
            template = self.data
        else:
            if self.mode is not None or self.data is not None:
                raise ValueError("body: `mode` and `data` are for CloudEvents; leave them out")
            template = self.body.event
        if template and self.customers is None and "customer" in Template(template).names:
            raise ValueError(
                "customers: missing, and a template asks for the customer's name there"
            )

    def type_of(self, kind: str) -> str | None:
        """Return the event type of a kind; None when the mapping names none."""
        if isinstance(self.event_type, str):
            return self.event_type.replace("{kind}", kind)
        return self.event_type.get(kind)  # type: ignore[call-overload, no-any-return]  # because kinds are plain texts elsewhere
