"""Which values of a sink's entry are secret, and where they stand that they should not."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from pydantic import BaseModel, SecretStr

if TYPE_CHECKING:
    from meter.sinks import Options

__all__ = ["SHORTEST", "leaks", "misdirected", "secret_values", "undeclared"]

SHORTEST: Final = 8
"""Characters of a secret that can be looked for without finding it by chance."""

_NAME: Final = re.compile(
    r"secret|token|passw|passphrase|api_?key|access_?key|credential|private_?key|authori[sz]ation"
    r"|signing|cookie|dsn",
    re.IGNORECASE,
)
_NOWHERE: Final = "127.0.0.1:9"
"""Where nothing listens."""


def secret_values(options: Options, entry: Mapping[str, Any]) -> frozenset[str]:
    """Return every value that must not be printed.

    These are the options of the type `meter.sinks.Secret`, texts under a name that sounds like
    a credential, and credentials inside URLs.
    """
    found = {s.get_secret_value() for s in _secrets(options)}
    for path, text in _texts(entry):
        if path and _NAME.search(path[-1]):
            found.add(text)
        found.update(_in_url(text))
    return frozenset(text for text in found if text and not text.startswith("${"))


def undeclared(model: type[BaseModel]) -> list[str]:
    """Say which options sound like a credential, and are not of the type `Secret`."""
    return [
        f"{name} sounds like a credential: give it the type meter.sinks.Secret"
        for name, field in model.model_fields.items()
        if _NAME.search(name) and str in _types(field.annotation)
    ]


def leaks(secrets: Iterable[str], texts: Mapping[str, str | bytes]) -> list[str]:
    """Say where a secret stands, plain or encoded; the secret itself is not told.

    Args:
        secrets: what to look for.
        texts: what was printed or stored, by what it is.
    """
    told = []
    for what, text in texts.items():
        content = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
        for secret in secrets:
            for how, form in _forms(secret):
                if form in content:
                    told.append(f"{what} shows a secret {how}: …{_around(content, form)}…")
                    break
    return told


def misdirected(options: Options, entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the entry with every address and path leading nowhere, and the same credentials.

    Args:
        options: the entry as the sink reads it: it tells which texts are paths.
        entry: under `sinks:`.
        folder: where a file is made that stands in the way of paths.
    """
    wall = folder / "not-a-folder"
    wall.write_text("a file stands where a folder should be\n")
    paths = {name for name, value in options if isinstance(value, Path)}
    changed: dict[str, Any] = {}
    for name, value in entry.items():
        if name in paths:
            changed[name] = str(wall / "below" / Path(str(value)).name)
        elif isinstance(value, str):
            changed[name] = _elsewhere(value)
        else:
            changed[name] = value
    return changed


def _secrets(value: Any) -> Iterator[SecretStr]:
    if isinstance(value, SecretStr):
        yield value
    elif isinstance(value, BaseModel):
        for _, inner in value:
            yield from _secrets(inner)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _secrets(inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from _secrets(inner)


def _texts(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(inner, (*path, str(name)))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner, path)


def _in_url(text: str) -> Iterator[str]:
    if "://" not in text:
        return
    parts = urlsplit(text)
    if parts.password:
        yield parts.password
        yield unquote(parts.password)
    for name, value in parse_qsl(parts.query):
        if _NAME.search(name) or name.lower() in {"key", "sig", "auth", "code"}:
            yield value


def _elsewhere(text: str) -> str:
    if "://" not in text:
        return text
    parts = urlsplit(text)
    credentials = parts.netloc.rpartition("@")[0]
    netloc = f"{credentials}@{_NOWHERE}" if credentials else _NOWHERE
    return urlunsplit(parts._replace(netloc=netloc))


def _types(annotation: Any) -> set[Any]:
    inner = getattr(annotation, "__args__", ())
    return {annotation}.union(*(_types(a) for a in inner)) if inner else {annotation}


def _forms(secret: str) -> list[tuple[str, bytes]]:
    plain = secret.encode()
    return [
        ("as it is", plain),
        ("as in a URL", quote(secret, safe="").encode()),
        ("as in JSON", json.dumps(secret)[1:-1].encode()),
        *(("in base64", form) for form in _in_base64(plain)),
    ]


def _in_base64(plain: bytes) -> Iterator[bytes]:
    """Iterate over what stands in base64 wherever the text is in what was encoded.

    `user:password` of HTTP's Basic is the usual case. Three bytes are four characters, so there
    are three ways; characters that share bits with what is before or behind are left out.
    """
    if len(plain) < SHORTEST:
        return
    for before in range(3):
        start, end = -(-before * 8 // 6), (before + len(plain)) * 8 // 6
        for altchars in (b"+/", b"-_"):
            yield base64.b64encode(b"\0" * before + plain, altchars)[start:end]


def _around(content: bytes, form: bytes) -> str:
    at = content.index(form)
    before = content[max(0, at - 60) : at].decode("utf-8", "replace")
    return repr(before)[1:-1] + "***"
