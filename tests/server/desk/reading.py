"""A page as something that reads it takes it: its elements, links, tables and figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

_EMPTY: Final = frozenset({"meta", "link", "input", "br", "rect", "path"})


@dataclass
class Element:
    """One element, with what is in it."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def all(self, tag: str = "", **wanted: str) -> list[Element]:
        """Return the elements within it, in order, with these attributes (`_` for `-`)."""
        found = []
        for child in self.children:
            if isinstance(child, Element):
                fits = all(
                    child.attributes.get(n.rstrip("_").replace("_", "-")) == v
                    for n, v in wanted.items()
                )
                found += [child] if fits and tag in {"", child.tag} else []
                found += child.all(tag, **wanted)
        return found

    def one(self, tag: str = "", **wanted: str) -> Element:
        """Return the only such element."""
        (found,) = self.all(tag, **wanted)
        return found

    @property
    def text(self) -> str:
        """What a person reads."""
        parts = (child if isinstance(child, str) else child.text for child in self.children)
        return " ".join("".join(parts).split())

    def rows(self) -> list[list[str]]:
        """Return the cells of a table's body: the machine's value where there is one."""
        (body,) = self.all("tbody")
        return [
            [_value(c) for c in row.children if isinstance(c, Element)] for row in body.all("tr")
        ]


def _value(cell: Element) -> str:
    data = cell.all("data")
    return data[0].attributes["value"] if data else cell.text


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in _EMPTY:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag in _EMPTY:
            return
        assert self._open[-1].tag == tag, f"{tag} ends {self._open[-1].tag}"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def read(text: str) -> Element:
    """Read a page; its elements must be nested as they are opened and closed."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert len(reader._open) == 1, [element.tag for element in reader._open]
    return reader.root
