"""The shapes of a request: CloudEvents 1.0 in its three modes, or a body of one's own.

CloudEvents over HTTP: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
and its JSON format: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from meter.events import format_time
from meter_http.template import Envelope, Template

if TYPE_CHECKING:
    from meter_http.options import HttpOptions
    from meter_http.placeholders import Facts

__all__ = ["DEFAULT_DATA", "Form", "form_for"]

JSON: Final = "application/json"
STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
"""Without a charset: OpenMeter compares the whole value, and JSON is UTF-8 anyway."""

DEFAULT_DATA: Final[dict[str, Any]] = {
    "seconds": "{seconds}",
    "customer_id": "{customer_id}",
    "model": "{model}",
    "language": "{language}",
    "features": "{features}",
    "audio_seconds": "{audio_seconds}",
    "provider": "{provider}",
    "provider_id": "{provider_id}",
    "collector": "{collector}",
    "dimensions": "{dimensions}",
}
"""`data` of a CloudEvent, unless the option says otherwise."""

_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
"""What stands in a `ce-` header as it is; the rest is percent-encoded (section 3.1.3.2)."""


class Form:
    """Makes requests; this one has one JSON document an event, and an envelope around several.

    Attributes:
        single: one event a request.
        strict: whether events without billed seconds are refused where a quantity is asked for.
    """

    content_type: str = JSON
    strict = True

    def __init__(self, template: Template, envelope: Envelope) -> None:
        self._template = template
        self._envelope = envelope

    @property
    def single(self) -> bool:
        """Whether a request has room for one event only."""
        return self._envelope.single

    def item(self, facts: Facts) -> bytes:
        """Return the JSON of one event.

        Raises:
            NeverBilled: the form asks for the billed quantity of an event that has none.
        """
        return self._template.fill(facts)

    def body(self, items: list[bytes]) -> bytes:
        """Return the body of a request with these events."""
        return self._envelope.around(items)

    def size(self, sizes: int, count: int) -> int:
        """Return how many bytes `body` returns for so many events of so many bytes in all."""
        return self._envelope.size(sizes, count)

    def headers(self, facts: Sequence[Facts]) -> dict[str, str]:
        """Return the headers that belong to the body."""
        del facts
        return {"content-type": self.content_type}


class _CloudEvents(Form):
    """Structured: the attributes and the data in one JSON document; `batch` has a list of them."""

    def __init__(self, data: Any, *, batch: bool) -> None:
        super().__init__(
            Template(data or DEFAULT_DATA), Envelope("{events}" if batch else "{event}")
        )
        self.content_type = BATCH if batch else STRUCTURED
        self.strict = data is not None

    def item(self, facts: Facts) -> bytes:
        attributes = _attributes(facts)
        return msgspec.json.encode(
            {
                **attributes,
                "datacontenttype": JSON,
                "data": msgspec.Raw(self._template.fill(facts)),
            }
        )


class _Binary(Form):
    """Binary: the data is the body, the attributes are headers."""

    def __init__(self, data: Any) -> None:
        super().__init__(Template(data or DEFAULT_DATA), Envelope("{event}"))
        self.strict = data is not None

    def headers(self, facts: Sequence[Facts]) -> dict[str, str]:
        (one,) = facts
        named = {f"ce-{name}": quote(text, safe=_PLAIN) for name, text in _attributes(one).items()}
        return {"content-type": JSON, **named}


def _attributes(facts: Facts) -> dict[str, str]:
    return {
        "specversion": "1.0",
        "id": facts.event.event_id,
        "source": facts.source,
        "type": facts.event_type,
        "subject": facts.customer,
        "time": format_time(facts.event.occurred_at),
    }


def form_for(options: HttpOptions) -> Form:
    """Return the form that the options ask for."""
    if options.body is not None:
        return Form(Template(options.body.event), Envelope(options.body.batch))
    if options.mode == "binary":
        return _Binary(options.data)
    return _CloudEvents(options.data, batch=options.mode != "structured")
