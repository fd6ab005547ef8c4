"""What makes a method a case of a kit: it cannot be left out, only be exempted with a sentence."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, TypeVar

import pytest

__all__ = ["Kit", "case", "require"]

F = TypeVar("F", bound=Callable[..., None])
SHORTEST_SENTENCE: Final = 3
"""Words."""
_MARK: Final = "_meter_case"
_SKIPPING: Final = ("skip", "skipif", "xfail")


def case(function: F) -> F:
    """Make a test method a case.

    A case that the class under test exempts runs all the same and must fail: it is reported as
    an expected failure, with the sentence. A case that skips itself fails.
    """

    @functools.wraps(function)
    def run(self: Kit, *args: Any, **given: Any) -> None:
        __tracebackhide__ = True
        sentence = self.exempted.get(self.item, self.exempted.get(function.__name__))
        try:
            function(self, *args, **given)
        except pytest.skip.Exception as skipped:
            pytest.fail(f"the case skipped itself: {skipped}; exempt it with a sentence instead")
        except (Exception, pytest.fail.Exception) as error:
            if sentence is None:
                raise
            pytest.xfail(f"{sentence} ({type(error).__name__})")
        if sentence is not None:
            pytest.fail(f"exempted ({sentence!r}), and passes: take the exemption away")

    setattr(run, _MARK, True)
    return run  # type: ignore[return-value]  # because wraps keeps the signature


class Kit:
    """The base of the conformance classes: every case must stay as it is.

    Attributes:
        exempted: case to the sentence that says why the class under test cannot pass it; of a
            case that runs several times, `name[which]` exempts one.
        item: the case that runs, with `[which]` if there are several of it.
    """

    item = ""

    exempted: Mapping[str, str] = {}

    def __init_subclass__(cls, **given: Any) -> None:
        """Refuse a subclass that replaces, deletes or skips a case.

        Raises:
            TypeError: it does; the text names the case.
        """
        super().__init_subclass__(**given)
        for name, promised in cls._promised().items():
            if getattr(cls, name) is not promised:
                raise TypeError(
                    f"{cls.__name__} replaces the case {name}; a case cannot be changed, only "
                    "exempted: name it in `exemptions` of the class under test, with a sentence"
                )
        marks = cls.__dict__.get("pytestmark", ())
        for mark in marks if isinstance(marks, list | tuple) else (marks,):
            if mark.name in _SKIPPING:
                raise TypeError(
                    f"{cls.__name__} is marked {mark.name}; exempt single cases, with a sentence"
                )

    @classmethod
    def cases(cls) -> frozenset[str]:
        """Return the names of the cases."""
        return frozenset(cls._promised())

    @classmethod
    def _promised(cls) -> dict[str, object]:
        """Return each case as the class that defines it has it, the deepest base first."""
        promised: dict[str, object] = {}
        for base in reversed(cls.__mro__):
            for name, value in vars(base).items():
                if getattr(value, _MARK, False):
                    promised.setdefault(name, value)
        return promised


def exemption_faults(exemptions: Mapping[str, str], cases: frozenset[str]) -> list[str]:
    """Say what is wrong with a class's exemptions; empty when nothing is."""
    told = [
        f"{name} is no case of the kit"
        for name in sorted(exemptions)
        if name.partition("[")[0] not in cases
    ]
    told += [
        f"{name}: expected a sentence that says why, got {sentence!r}"
        for name, sentence in exemptions.items()
        if len(str(sentence).split()) < SHORTEST_SENTENCE
    ]
    return told


def require(complaints: list[str] | bool, what: str = "") -> None:  # noqa: FBT001  because it reads as an assertion
    """Fail with what is wrong, without a traceback through the kit.

    Args:
        complaints: what is wrong, a line each; or whether something holds.
        what: stands before them, or says what should hold.
    """
    __tracebackhide__ = True
    if complaints is True or complaints == []:
        return
    lines = complaints if isinstance(complaints, list) else []
    _fail("\n  ".join([what, *lines]).strip())


def _fail(text: str) -> NoReturn:
    __tracebackhide__ = True
    raise AssertionError(text)
