"""Checks of parameters, with Stripe's refusals; forms bring texts, JSON brings its own types."""

import re
from collections.abc import Collection
from typing import Any

from meter.sandbox.stripe_refusals import StripeRefusal, invalid, missing
from meter.sandbox.stripe_wire import Params

TEXT_LIMIT = 5000
"""Characters of a text that has no limit of its own."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def only(params: Params, *names: str) -> None:
    """Refuse parameters that the endpoint does not know; `expand` is taken and ignored."""
    for name in params:
        if name not in {*names, "expand"}:
            raise invalid(
                f"Received unknown parameter: {name}", param=name, code="parameter_unknown"
            )


def is_given(params: Params, name: str) -> bool:
    """Whether a parameter has a value; an emptied one has none."""
    value = params.get(name)
    return value is not None and value != ""


def text(params: Params, name: str, *, within: str = "", limit: int = TEXT_LIMIT) -> str:
    """Return a required text of at most `limit` characters; `within` names its outer parameter."""
    shown = f"{within}[{name}]" if within else name
    value = params.get(name)
    if value is None or value == "":
        raise missing(shown)
    if not isinstance(value, str):
        raise invalid(f"Invalid string: {value!r}", param=shown)
    if len(value) > limit:
        raise invalid(
            f"Invalid string: {value[:20]}…; must be at most {limit} characters", param=shown
        )
    return value


def optional_text(params: Params, name: str, *, limit: int = TEXT_LIMIT) -> str | None:
    """Return a text, or None where it is not given or emptied."""
    return text(params, name, limit=limit) if is_given(params, name) else None


def integer(params: Params, name: str, default: int | None = None, *, within: str = "") -> int:
    """Return a whole number; without a default it is required."""
    shown = f"{within}[{name}]" if within else name
    value = params.get(name, default)
    if value is None:
        raise missing(shown)
    if isinstance(value, bool) or not _INTEGER.fullmatch(str(value)):
        raise invalid(f"Invalid integer: {value}", param=shown, code="parameter_invalid_integer")
    return int(value)


def boolean(params: Params, name: str, *, default: bool) -> bool:
    """Return a truth value."""
    value = params.get(name, default)
    if value is True or value == "true":
        return True
    if value is False or value == "false":
        return False
    raise invalid(f"Invalid boolean: {value}", param=name)


def choice(params: Params, name: str, choices: Collection[str], *, within: str = "") -> str:
    """Return a required text that is one of a few."""
    value = text(params, name, within=within)
    if value not in choices:
        shown = f"{within}[{name}]" if within else name
        raise invalid(f"Invalid {shown}: must be one of {', '.join(sorted(choices))}", param=shown)
    return value


def nested(params: Params, name: str, *names: str) -> Params:
    """Return a required dictionary of known names."""
    value = params.get(name)
    if value is None:
        raise missing(name)
    if not isinstance(value, dict):
        raise invalid("Invalid object", param=name)
    for inner in value:
        if names and inner not in names:
            shown = f"{name}[{inner}]"
            raise invalid(
                f"Received unknown parameter: {shown}", param=shown, code="parameter_unknown"
            )
    return value


def texts(params: Params, name: str) -> dict[str, str]:
    """Return a dictionary of texts, empty where it is not given or emptied."""
    if not is_given(params, name):
        return {}
    value = nested(params, name)
    for inner, item in value.items():
        if not isinstance(item, str):
            raise _invalid_text(name, inner, item)
    return dict(value)


def _invalid_text(name: str, inner: str, item: Any) -> StripeRefusal:
    return invalid(f"Invalid string: {item!r}", param=f"{name}[{inner}]")
