"""Read a pipelines file: parse, interpolate, validate, and say everything that is wrong at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meter.config.faults import ConfigFaults, Fault, did_you_mean
from meter.config.interpolation import interpolate, names_in, required_names
from meter.config.models import DEFAULT_JOURNAL, CollectorConfig, Config
from meter.config.sections import Reader
from meter.config.yaml_nodes import parse
from meter.sinks import Home

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meter.config.document import Document, Value
    from meter.config.faults import NodePath
    from meter.config.models import SinkConfig
    from meter.plugins import Plugins

__all__ = ["load_config", "required_variables", "whence"]

MAX_BYTES: Final = 1_048_576
"""A pipelines file is some kilobytes; beyond this it is something else."""

_SECTIONS: Final = ("journal", "server", "collectors", "sinks", "pipelines", "rates")


def load_config(
    path: Path, plugins: Plugins, *, environ: Mapping[str, str], home: Home | None = None
) -> Config:
    """Read a pipelines file.

    Args:
        path: the file; relative paths in it are relative to its folder.
        plugins: where the types of its sinks and collectors are found.
        environ: what `${NAME}` refers to, most often `os.environ`.
        home: where relative paths start; by default in the file's folder.

    Raises:
        ConfigFaults: every fault of the file, each with its place; `exit_code` is 2, or 3 when
            broken or ambiguous plugins are all that is wrong.
    """
    document = _read(path)
    config = None
    if not document.faults or document.root:
        interpolate(document, environ)
        config = _config(document, path, plugins, home or Home(path.absolute().parent))
    if document.faults or config is None:
        raise ConfigFaults.of(document.faults)
    return config


def required_variables(path: Path) -> frozenset[str]:
    """Return the environment variables that a file refers to without giving a default.

    Raises:
        ConfigFaults: the file cannot be read or is not YAML.
    """
    document = _read(path)
    if document.faults:
        raise ConfigFaults.of(document.faults)
    return required_names(document)


def whence(path: Path, node: NodePath) -> str:
    """Say where a value stands in a file, and which variables it comes from; never the value.

    Args:
        path: the file.
        node: keys from the top, such as `("collectors", "jobs", "api_key")`.

    Returns:
        Such as `pipelines.yaml:9:14, from ${ASSEMBLYAI_API_KEY}`; nothing where nothing stands.
    """
    document = _read(path)
    value: Value = document.root
    for key in node:
        value = value.get(str(key)) if isinstance(value, dict) else None
    if not isinstance(value, str):
        return ""
    line, column = document.place(node)
    names = " and ".join(f"${{{name}}}" for name in names_in(value))
    return f"{path}:{line}:{column}" + (f", from {names}" if names else "")


def _read(path: Path) -> Document:
    file = str(path)
    fault = ""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            fault = f"larger than {MAX_BYTES:,} bytes; is it a pipelines file?"
        # YAML counts each of these as one line break.
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        fault = "not found; run in the folder of your pipelines.yaml, or name the file"
    except IsADirectoryError:
        fault = "a folder, not a file; name the file in it, such as pipelines.yaml"
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        fault = f"not UTF-8 (first on line {line}); save it as UTF-8"
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        why = getattr(error, "strerror", None) or "not a file name"
        fault = f"cannot be read: {why}; check its owner and permissions"
    if fault:
        raise ConfigFaults([Fault(file, 0, 0, "", fault)])
    return parse(text, file)


def _config(document: Document, path: Path, plugins: Plugins, home: Home) -> Config | None:
    root = document.root
    if not isinstance(root, dict):
        return None
    # A misspelt section is not reported as missing too, nor what would refer to it.
    for name in root:
        if name not in _SECTIONS:
            _unknown_section(document, name, root)
    reader = Reader(document, home)
    journal = _journal(document, root.get("journal"), home)
    server = reader.server(root.get("server"))
    collectors = reader.collectors(root.get("collectors"), plugins.collectors)
    sinks = reader.sinks(root.get("sinks"), plugins.sinks)
    pipelines = reader.pipelines(root.get("pipelines"), root)
    rates = reader.rates(root.get("rates"))
    _distinct_places(document, journal, sinks)
    _distinct_paths(document, collectors)
    config = Config(path, home.folder, journal, server, collectors, sinks, pipelines, rates)
    return None if document.faults else _with_warnings(document, config)


def _unknown_section(document: Document, name: str, root: Mapping[str, Value]) -> None:
    absent = [section for section in _SECTIONS if section not in root]
    suggestion = did_you_mean(name, _SECTIONS)
    document.fault((name,), f"unknown key{suggestion}", key=True)
    for section in absent:
        if f"did you mean {section!r}" in suggestion:
            document.spoiled.add((section,))


def _journal(document: Document, value: Value, home: Home) -> str:
    path = ("journal",)
    if path in document.spoiled:
        return ""
    if value is None:
        value = DEFAULT_JOURNAL
    if not isinstance(value, str) or not value or "\0" in value:
        document.fault(path, "expected a file, such as meter.db")
        return ""
    if "://" in value:
        document.fault(path, "expected a file, such as meter.db; database servers come later")
        return ""
    try:
        return str(home.place(Path(value)))
    except RuntimeError:  # ~someone, and nobody is called that
        document.fault(path, "expected a file whose folder can be found; its '~' cannot")
        return ""


def _distinct_places(document: Document, journal: str, sinks: Mapping[str, SinkConfig]) -> None:
    """Refuse two that would write the same file: the journal and a sink, or two sinks.

    Sinks of one type may share a file that they divide (SQLite tables), so those must differ
    in some option; a csv file that two templates lead to is refused when it is met.
    """
    taken: dict[Path, tuple[str, SinkConfig | None]] = {Path(journal): ("the journal", None)}
    for name, sink in sinks.items():
        for option, place in sink.options:
            if not isinstance(place, Path):
                continue
            owner, other = taken.setdefault(place, (f"the sink {name!r}", sink))
            if other is sink or (
                other is not None and other.type == sink.type and other.options != sink.options
            ):
                continue
            document.fault(
                ("sinks", name, option), f"is where {owner} writes already; expected another path"
            )


def _distinct_paths(document: Document, collectors: Mapping[str, CollectorConfig]) -> None:
    """Refuse two collectors that claim one path of the port."""
    taken: dict[str, str] = {}
    for name, collector in collectors.items():
        paths = getattr(collector.extension.cls, "paths", None)
        for path in paths(collector.options) if callable(paths) else ():
            if (owner := taken.setdefault(path, name)) != name:
                document.fault(
                    ("collectors", name, "path"),
                    f"{path} is where the collector {owner!r} listens; expected another path",
                )


def _with_warnings(document: Document, config: Config) -> Config:
    read = {name for pipeline in config.pipelines.values() for name in pipeline.from_}
    fed = {name for pipeline in config.pipelines.values() for name in pipeline.to}
    warnings = [
        f"{document.where(('collectors', name), key=True)}: no pipeline takes from this "
        "collector; its events are journalled and go nowhere"
        for name in config.collectors
        if name not in read
    ] + [
        f"{document.where(('sinks', name), key=True)}: no pipeline leads to this sink; it is "
        "given nothing"
        for name in config.sinks
        if name not in fed
    ]
    return replace(config, warnings=tuple(warnings))
