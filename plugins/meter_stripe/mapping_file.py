"""Read a customers file: every customer's Stripe id, as text only, or every fault at once.

YAML has one line for each customer, `customer_id: cus_…`; a file whose name ends in `.csv` has two
columns, and may begin with the header `customer_id,stripe_customer_id`. Both are UTF-8.

YAML is read as a stream of events: nothing resolves plain scalars, so `007`, `NO` and `1:30` stay
what was written, and a million lines need neither many seconds nor a tree in memory.
"""

from __future__ import annotations

import csv
import io
import re
from array import array
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["HEADER", "BadMapping", "read_mapping", "shown", "stripe_id_fault"]

HEADER: Final = ["customer_id", "stripe_customer_id"]
"""A CSV file's first row when it is no customer; no Stripe customer has such an id."""
LONGEST_ID: Final = 100
"""Characters of a Stripe customer's id."""
MAX_SHOWN: Final = 80
"""Characters of an id in a message."""
MAX_FAULTS: Final = 20
"""Faults in one message; `BadMapping.faults` has them all."""
MAX_DEPTH: Final = 64
"""Levels of nesting after which a YAML file is not read on."""

_LOADER: Final[Any] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""libyaml's where PyYAML was built with it: ten times faster."""
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_PLAIN_ID: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{LONGEST_ID}}}")
"""What nearly every Stripe id looks like; spares a million lines the closer look."""
# YAML's own list of what may stand in a stream.
_UNPRINTABLE: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


class BadMapping(Exception):
    """A customers file cannot be used.

    Its text is one line, since only the first line of an error reaches `meter status`.

    Attributes:
        faults: line number (from 1) and what is wrong there, by line; never empty.
    """

    def __init__(self, name: str, faults: Sequence[tuple[int, str]]) -> None:
        self.faults = tuple(faults)
        listed = [f"{name}:{line}: {fault}" for line, fault in faults[:MAX_FAULTS]]
        if len(faults) > MAX_FAULTS:
            listed.append(f"and {len(faults) - MAX_FAULTS:,} more faults")
        super().__init__("; ".join(listed))


def read_mapping(path: Path, content: bytes) -> dict[str, str]:
    """Read a customers file into customer ids and their Stripe ids, in the file's order.

    Customer ids are opaque: neither trimmed nor folded.

    Args:
        path: decides by its suffix how to read, and stands in messages.
        content: the whole file.

    Raises:
        BadMapping: the file has faults. Where it is not UTF-8, or no YAML from some line on, the
            lines beyond could not be read.
    """
    rows = _Rows()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        rows.fault(line, "the file is not UTF-8 from here on; save it as UTF-8")
    else:
        if path.suffix.lower() == ".csv":
            del text  # the rows below are decoded again, one at a time
            _read_csv(content, rows)
        else:
            _YamlReader(rows).read(text)
    if faults := rows.all_faults():
        raise BadMapping(shown_plainly(path.name), faults)
    return rows.pairs


def shown(text: str) -> str:
    """Quote a text from outside for one line of a terminal: no control characters, not long."""
    quoted = repr(text[: MAX_SHOWN + 1])
    if len(quoted) <= MAX_SHOWN + 2:
        return quoted
    return f"{quoted[:MAX_SHOWN]}…{quoted[0]} ({len(text):,} characters)"


def shown_plainly(text: str) -> str:
    """Show a name without quotes when it needs none."""
    return text if text.isprintable() else shown(text)


def stripe_id_fault(stripe_id: str) -> str | None:
    """Say why a text cannot be a Stripe customer's id, such as `is empty`; None when it can.

    It need not begin with `cus_`: accounts that chose their customers' ids have others.
    """
    if _PLAIN_ID.fullmatch(stripe_id):
        return None
    if not stripe_id:
        return "is empty"
    if len(stripe_id) > LONGEST_ID:
        return f"is longer than {LONGEST_ID} characters"
    if stripe_id != stripe_id.strip():
        return "begins or ends with a blank"
    if not stripe_id.isprintable():
        return "holds a control character, or one that cannot be seen"
    return None


class _Rows:
    """What was read so far, and what is wrong with it."""

    def __init__(self) -> None:
        self.pairs: dict[str, str] = {}
        self._lines = array("L")  # of each pair; a list of numbers would be the larger part
        self._again: list[tuple[int, str]] = []
        self._faults: list[tuple[int, str]] = []

    def fault(self, line: int, words: str) -> None:
        self._faults.append((line, words))

    def add(self, line: int, customer_id: str, stripe_id: str, fault: str | None = None) -> None:
        if fault := fault or stripe_id_fault(stripe_id):
            words = f"the Stripe id {shown(stripe_id)} of customer {shown(customer_id)} {fault}"
            self.fault(line, words)
        if not customer_id:
            self.fault(line, "the customer id is empty")
        elif customer_id in self.pairs:
            self._again.append((line, customer_id))
        else:
            self.pairs[customer_id] = stripe_id
            self._lines.append(line)

    def all_faults(self) -> list[tuple[int, str]]:
        repeated = {customer_id for _, customer_id in self._again}
        lines = zip(self.pairs, self._lines, strict=True) if repeated else ()
        first = {each: line for each, line in lines if each in repeated}
        twice = [
            (
                line,
                f"customer {shown(each)} stands here again, first on line {first[each]}; keep one",
            )
            for line, each in self._again
        ]
        return sorted(self._faults + twice)


def _read_csv(content: bytes, rows: _Rows) -> None:
    lines = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")
    reader = csv.reader(lines, strict=True)
    first = True
    while True:
        line = reader.line_num + 1  # where the row begins: a quoted field may span lines
        try:
            row = next(reader, None)
        except csv.Error as error:
            rows.fault(line, f"not CSV: {error}")
            first = False
            continue
        if row is None:
            break
        if not row:
            continue
        if len(row) != len(HEADER):
            words = f"expected two columns with a comma between, found {len(row):,}"
            rows.fault(line, words)
        elif not first or row != HEADER:
            rows.add(line, row[0], row[1])
        first = False
    if first:
        rows.fault(1, f"the file is empty; with no customers yet, write {','.join(HEADER)}")


class _YamlReader:
    """Reads one mapping of texts to texts from YAML's events."""

    def __init__(self, rows: _Rows) -> None:
        self._rows = rows
        self._depth = 0
        self._is_mapping = False
        self._documents = 0
        self._key_line = 0
        self._key: str | None = None
        self._at_value = False

    def read(self, text: str) -> None:
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                if not self._take(event):
                    return
        except yaml.MarkedYAMLError as error:
            mark: Any = error.problem_mark or error.context_mark
            words = shown_plainly(error.problem or "it cannot be read")
            line = mark.line + 1 if mark else self._key_line
            self._rows.fault(line, f"not YAML from here on: {words}; quote ids with odd characters")
        except yaml.reader.ReaderError:
            found = _UNPRINTABLE.search(text)
            line = text.count("\n", 0, found.start()) + 1 if found else 1
            self._rows.fault(line, 'a control character; in YAML it is written as in "\\x07"')
        else:
            if not self._documents:
                self._rows.fault(1, "the file is empty; with no customers yet, write {}")

    def _take(self, event: Any) -> bool:
        """Take one event; return whether to read on."""
        if isinstance(event, yaml.NodeEvent):
            depth = self._depth
            if isinstance(event, yaml.CollectionStartEvent):
                self._depth += 1
            if depth == 0:
                return self._take_root(event)
            if depth == 1:
                self._take_part(event)
            return depth < MAX_DEPTH
        if isinstance(event, yaml.CollectionEndEvent):
            self._depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._rows.fault(_line(event), "a second document begins here; write one only")
                return False
        return True

    def _take_root(self, event: Any) -> bool:
        if isinstance(event, yaml.MappingStartEvent):
            if event.anchor or event.tag:
                self._rows.fault(_line(event), "anchors and tags are not understood here")
            return True
        words = "expected lines such as `acme: cus_123`, with a blank after the colon"
        self._rows.fault(_line(event), words)
        return False

    def _take_part(self, event: Any) -> None:
        if not self._at_value:
            self._at_value = True
            self._key_line = _line(event)
            self._key = self._text(event, "a customer id")
            if self._key == "<<" and not event.style:
                words = 'merge keys are not understood here; a customer "<<" needs quotes'
                self._rows.fault(self._key_line, words)
            return
        self._at_value = False
        value = self._text(event, "a Stripe id")
        if self._key is None or value is None:
            return
        fault = None
        if value in _NULLS and not event.style:
            fault = "is empty; leave the line out until there is one"
        elif event.start_mark.line != event.end_mark.line:
            fault = "does not stand on one line"
        self._rows.add(self._key_line, self._key, value, fault)

    def _text(self, event: Any, what: str) -> str | None:
        """Return a scalar as it was written; None, with a fault, when it is no bare text."""
        if isinstance(event, yaml.ScalarEvent) and not event.anchor and not event.tag:
            return str(event.value)
        if isinstance(event, yaml.ScalarEvent | yaml.AliasEvent):
            words = f"expected {what}, not an anchor, alias or tag; quote a text with & * or !"
        else:
            words = f"expected {what}, not a list or a mapping"
        self._rows.fault(_line(event), words)
        return None


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
