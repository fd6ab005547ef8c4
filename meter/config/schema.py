"""The JSON Schema of a pipelines file, for editors: completion, descriptions, red underlines.

It describes the file before interpolation, so whatever is not free text may also be a text
with `${` in it. It is a little stricter than `load_config` (a quoted `"8787"` is underlined,
and accepted), and knows nothing of names that refer to each other.
"""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pydantic.errors import PydanticUserError

from meter.config.conditions import DIMENSIONS, FIELDS
from meter.config.models import DEFAULT_JOURNAL, PipelineConfig, ServerOptions
from meter.config.rates import RatesOptions
from meter.config.sections import NAME

if TYPE_CHECKING:
    from meter.plugins import Plugins, Types

__all__ = ["json_schema"]

Schema: TypeAlias = dict[str, Any]

_REFERENCE: Final = {"type": "string", "pattern": r"\$\{"}
_TEXT: Final = {"type": ["string", "number", "boolean"]}
"""A scalar that meter reads as text, whatever an editor takes `007` or `NO` for."""
_START: Final = {
    "description": "Where the sink starts when it is new: beginning, now, or a date or time (UTC).",
    "anyOf": [
        {"enum": ["beginning", "now"]},
        {"type": "string", "pattern": r"^\d{4}-?\d\d-?\d\d"},
    ],
}
# Every keyword under which pydantic nests schemas.
_LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS: Final = ("properties", "$defs", "patternProperties")
_SINGLE: Final = ("items", "additionalProperties", "propertyNames", "contains", "not")


def json_schema(plugins: Plugins) -> Schema:
    """Return the JSON Schema (2020-12) of a pipelines file with these plugins."""
    definitions: Schema = {"condition": _condition()}
    server = _model(ServerOptions, "server", definitions)
    pipeline = _pipeline(definitions)
    rates = _model(RatesOptions, "rates", definitions)
    schema: Schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "meter pipelines",
        "description": "Which collectors feed which sinks.",
        "type": "object",
        "properties": {
            "journal": {
                "description": "A file.",
                "type": "string",
                "minLength": 1,
                "default": DEFAULT_JOURNAL,
            },
            "server": {**server, "type": ["object", "null"]},
            "collectors": _section(
                "Where events come from, by name.",
                {"oneOf": _entries(plugins.collectors, definitions, {})},
            ),
            "sinks": _section(
                "Where events go, by name.",
                {"oneOf": _entries(plugins.sinks, definitions, {"start": _START})},
            ),
            "pipelines": _section("Which collectors feed which sinks, by name.", pipeline),
            "rates": {**rates, "type": ["object", "null"]},
        },
        "required": ["collectors", "sinks", "pipelines"],
        "additionalProperties": False,
        "$defs": definitions,
    }
    _accept_references(schema)
    return schema


def _section(description: str, entry: Schema) -> Schema:
    return {
        "description": description,
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": f"^{NAME}$"},
        "additionalProperties": entry if entry.get("oneOf") != [] else False,
    }


def _entries(types: Types[Any], definitions: Schema, own: Schema) -> list[Schema]:
    """Return one schema for each type, told apart by `type`."""
    entries = []
    for name in types.names():
        cls = types.found[name].cls
        entry = _model(cls.Options, f"{types.noun}.{name}", definitions)
        first_line = (cls.__doc__ or "").strip().partition("\n")[0]
        chosen: Schema = {"const": name}
        if first_line:
            chosen["description"] = first_line
        entry["properties"] = {"type": chosen, **copy.deepcopy(own), **entry.get("properties", {})}
        entry["required"] = ["type", *entry.get("required", [])]
        entry["title"] = name
        entries.append(entry)
    return entries


def _model(model: Any, prefix: str, definitions: Schema) -> Schema:
    """Return a model's schema; what it refers to goes to the definitions, under the prefix."""
    prefix = re.sub(r"[^A-Za-z0-9_.-]", "_", prefix)
    try:
        schema: Schema = model.model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
    except (PydanticUserError, AttributeError):
        # A plugin's model that cannot be described must not cost the others their schema.
        return {"type": "object"}
    for name, definition in schema.pop("$defs", {}).items():
        definitions[f"{prefix}.{name}"] = definition
    if "$ref" in schema:  # a model that refers to itself
        schema = copy.deepcopy(definitions[schema["$ref"].removeprefix("#/$defs/")])
    return schema


def _pipeline(definitions: Schema) -> Schema:
    schema = _model(PipelineConfig, "pipeline", definitions)
    for key in ("from", "to", "kinds"):
        many = schema["properties"][key]
        one = copy.deepcopy(many["items"])
        many = {**many, "uniqueItems": True}
        kept = {
            name: many.pop(name) for name in ("description", "title", "default") if name in many
        }
        schema["properties"][key] = {**kept, "anyOf": [one, many]}
    fields = "|".join(FIELDS)
    schema["properties"]["where"] = {
        "description": "What else an event must be: a field to a text, a list of texts, or in, "
        "not_in, equals, not, exists. All must hold.",
        "type": ["object", "null"],
        "propertyNames": {"pattern": rf"^({fields}|{re.escape(DIMENSIONS)}.+)$"},
        "additionalProperties": {"$ref": "#/$defs/condition"},
    }
    for name in [name for name in definitions if name.startswith("pipeline.")]:
        del definitions[name]
    return schema


def _condition() -> Schema:
    texts = {"type": "array", "items": _TEXT, "minItems": 1}
    return {
        "anyOf": [
            _TEXT,
            texts,
            {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": False,
                "properties": {
                    "equals": _TEXT,
                    "not": _TEXT,
                    "in": {"anyOf": [_TEXT, texts]},
                    "not_in": {"anyOf": [_TEXT, texts]},
                    "exists": {"type": "boolean"},
                },
            },
        ]
    }


def _accept_references(schema: Schema) -> None:
    """Let every scalar that is not free text be a text with `${` as well, in place."""
    for keyword in _LISTS:
        for inner in schema.get(keyword, []):
            _accept_references(inner)
    for keyword in _MAPS:
        for inner in schema.get(keyword, {}).values():
            _accept_references(inner)
    for keyword in _SINGLE:
        if isinstance(schema.get(keyword), dict) and keyword != "propertyNames":
            _accept_references(schema[keyword])
    if _is_bound_scalar(schema):
        notes = ("title", "description", "default", "examples")
        bare = {name: schema.pop(name) for name in list(schema) if name not in notes}
        schema["anyOf"] = [bare, dict(_REFERENCE)]


def _is_bound_scalar(schema: Schema) -> bool:
    kind = schema.get("type")
    if "enum" in schema or kind in ("integer", "number", "boolean"):
        return True
    return (
        kind == "string"
        and bool({"pattern", "maxLength", "format"} & schema.keys())
        and (schema.get("format") not in ("path", "password"))
    )
