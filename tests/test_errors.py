"""The tree of errors is the one that its module draws."""

import re

import pytest

from meter import errors
from meter.errors import MeterError

DRAWN = re.findall(r"^([│├└─ ]*)(\w+)\s+(\d|exit code)", errors.__doc__ or "", re.MULTILINE)


def test_every_error_is_drawn_and_no_other() -> None:
    assert sorted(name for _, name, _ in DRAWN) == sorted(errors.__all__)


@pytest.mark.parametrize(("branch", "name", "code"), DRAWN)
def test_an_error_stands_where_it_is_drawn(branch: str, name: str, code: str) -> None:
    cls = getattr(errors, name)
    assert issubclass(cls, MeterError)
    if name != "MeterError":
        assert cls.exit_code == int(code)
        assert len(cls.__mro__) - len(MeterError.__mro__) >= len(branch) // 4
