"""Cases about what a sink says of itself: its type, its guarantee, its options, its exemptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import to_json

from meter.errors import ConfigurationError
from meter.sinks import Guarantee, Options
from meter.testing.case import case, exemption_faults, require
from meter.testing.sink_cases import SinkCases
from meter.testing.site import SINK, Site, plugins_with

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from meter.testing.bench import SinkBench

__all__ = ["DeclarationCases", "undocumented"]


class DeclarationCases(SinkCases):
    """What users read before they use a sink."""

    @case
    def test_its_type_and_guarantee_are_declared(self, sink_config: Mapping[str, Any]) -> None:
        """Finds a sink that does not say what happens to an event after a crash."""
        cls = self.sink_class
        told = []
        if cls.type != sink_config.get("type"):
            told.append(f"type is {cls.type!r}, the entry says {sink_config.get('type')!r}")
        guarantee: Any = cls.guarantee
        if not isinstance(guarantee, Guarantee):
            told.append(f"guarantee is {guarantee!r}, expected a meter.sinks.Guarantee")
        if not cls.guarantee_note.strip():
            told.append("guarantee_note is empty: one sentence on how it is kept, or where it ends")
        if not (cls.__doc__ or "").strip():
            told.append("the class has no docstring; its first line is shown in editors")
        require(told, f"{cls.__name__} leaves out:")

    @case
    def test_its_options_are_documented(self) -> None:
        """Finds an option without a description, and a default that nobody can read."""
        require(undocumented(self.sink_class.Options), "options that a user cannot understand:")

    @case
    def test_an_unknown_option_is_refused(
        self, site_folder: Path, sink_config: Mapping[str, Any]
    ) -> None:
        """Finds a sink that takes a misspelt option silently."""
        site = Site(site_folder, {SINK: {**sink_config, "no_such_option_": "x"}})
        try:
            site.config(plugins_with())
        except ConfigurationError as error:
            require("no_such_option_" in str(error), f"the refusal does not name it: {error}")
        else:
            raise AssertionError("an option that does not exist was accepted")

    @case
    def test_its_answers_to_commands_are_harmless(self, bench: SinkBench) -> None:
        """Finds `status`, `explain` or `routes` that need an opened sink."""
        sink = bench.sink_class(bench.options, bench.context())
        answers = {"status": sink.status(), "explain": sink.explain("assemblyai:transcript:none")}
        told = [
            f"{name} returned {answer!r}, expected lines of text"
            for name, answer in answers.items()
            if isinstance(answer, str) or not all(isinstance(line, str) for line in answer)
        ]
        require(told, "on an instance that is never opened:")
        list(sink.routes())

    def test_its_exemptions_are_sentences_for_cases_that_exist(self) -> None:
        """Finds an exemption for nothing; this one cannot be exempted."""
        exemptions = self.sink_class.exemptions
        require(exemption_faults(exemptions, self.cases()), "`exemptions` is wrong:")


def undocumented(model: type[Options]) -> list[str]:
    """Say which options lack a description, or have a default that cannot be shown."""
    if not issubclass(model, Options):
        return [f"Options is {model!r}, expected a class derived from meter.sinks.Options"]
    told = []
    for place, inner in _models(model):
        properties = inner.model_json_schema(by_alias=False).get("properties", {})
        for name, field in inner.model_fields.items():
            if not (field.description or properties.get(name, {}).get("description")):
                told.append(f"{place}{name} has no description")
            if not (field.is_required() or _can_be_shown(field)):
                told.append(f"{place}{name} is optional, and its default cannot be shown")
    return told


def _can_be_shown(field: FieldInfo) -> bool:
    """Tell whether a default can be written down; one that a factory makes is made."""
    try:
        to_json(field.get_default(call_default_factory=True))
    except Exception:  # noqa: BLE001  because a factory may raise anything
        return False
    return True


def _models(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Iterate over a model and those inside it, each once, with what stands before its options."""
    found: dict[type[BaseModel], str] = {model: ""}
    waiting = [model]
    while waiting:
        inner = waiting.pop(0)
        yield found[inner], inner
        for field in inner.model_fields.values():
            for part in _parts(field.annotation):
                if part not in found:
                    found[part] = f"{part.__name__}."
                    waiting.append(part)


def _parts(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _parts(inner)
