"""Plugins that misbehave, each a package of its own in a folder for PYTHONPATH."""

import json
import subprocess
from pathlib import Path
from typing import Any

from acceptance import books
from acceptance.events import events, write_events
from acceptance.process import Meter, pipelines

VERSION = "6.6.6"
COUNT = 30
SOURCE = {"import": {"type": "jsonl", "path": "events.jsonl"}}

HOOKED = "from meter import hookimpl\n"
SINK = """\
from meter import hookimpl
from meter.sinks import Guarantee, Options, Report, Sink

class Nothing(Options):
    pass

class Fine(Sink):
    type = {type!r}
    guarantee = Guarantee.AT_LEAST_ONCE
    Options = Nothing
    def deliver(self, batch):
        return Report.everything(batch)
"""
REGISTERS = "\n@hookimpl\ndef meter_register_sinks():\n    return [{cls}]\n"
HANG = "import pathlib, threading\n{before}threading.Event().wait()\n"


def fine(name: str, cls: str = "Fine") -> str:
    """A sink of the type `name`, registered; what is wrong with it is added by the test."""
    return SINK.format(type=name) + REGISTERS.format(cls=cls)


def offering(offered: str) -> str:
    """A plugin whose `meter_register_sinks` returns this expression."""
    return (
        SINK.format(type="offered") + f"\n@hookimpl\ndef meter_register_sinks():\n    {offered}\n"
    )


LOADING = {
    "lacking": ("import a_package_that_is_not_there", "No module named 'a_package_that_is_not"),
    "misspelt": ("def broken(:", "SyntaxError"),
    "leaving": ("raise SystemExit(7)", "SystemExit: 7"),
    "pressing": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "strange": ("class Odd(BaseException): pass\nraise Odd('odd')", "Odd: odd"),
    "unspeakable": (
        "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute",
        "Mute",
    ),
    "unhooked": (
        f"{HOOKED}@hookimpl\ndef meter_register_sink(): pass",
        "unknown hook 'meter_register_sink'",
    ),
    "arguing": (
        f"{HOOKED}@hookimpl\ndef meter_event_recorded(evnt): pass",
        "PluginValidationError",
    ),
    "awaiting": (
        f"{HOOKED}@hookimpl\nasync def meter_event_recorded(event): pass",
        "is `async`",
    ),
    "wrapping": (
        f"{HOOKED}@hookimpl(wrapper=True)\ndef meter_event_recorded(event):\n    yield",
        "only meter_deliver can be wrapped",
    ),
    "ancient": (f"meter_api_version = 0\n{HOOKED}", "version 0 of meter's plugin API"),
    "versioned": (f"meter_api_version = '1'\n{HOOKED}", "meter_api_version is '1'"),
}
"""By name: a module that cannot be loaded, and what is said of it."""

OFFERING = {
    "raising": ("raise ZeroDivisionError('no types today')", "no types today"),
    "counting": ("return 5", "'int' object is not iterable"),
    "texting": ("return ['Fine']", "'Fine' is not a class derived from Sink"),
    "unrelated": ("return [dict]", "is not a class derived from Sink"),
    "untyped": ("del Fine.type; return [Fine]", "Fine has no `type`"),
    "unnamed": ("Fine.type = 7; return [Fine]", "Fine.type is 7"),
    "unguarded": ("del Fine.guarantee; return [Fine]", "Fine has no `guarantee`"),
    "boasting": ("Fine.guarantee = 'always'; return [Fine]", "not one of meter.sinks.Guarantee"),
    "optional": ("Fine.Options = dict; return [Fine]", "Options is not derived from"),
    "hoarding": ("Fine.batch_size = 0; return [Fine]", "Fine.batch_size is 0"),
    "abstract": (
        "del Fine.deliver; Fine.__abstractmethods__ = frozenset(['deliver']); return [Fine]",
        "Fine does not define deliver",
    ),
    "twofold": ("return [Fine, type('Other', (Fine,), {})]", "registers the sink type"),
}
"""By name: what `meter_register_sinks` does, and what is said of the plugin."""

MOODY = '''\
import pathlib, threading
from meter import hookimpl
from meter.errors import FatalSinkError
from meter.sinks import FilePath, Guarantee, Options, Report, Sink

class Mute(Exception):
    def __str__(self):
        raise ValueError

class MoodyOptions(Options):
    path: FilePath
    mood: str
    health: FilePath

class Moody(Sink):
    """Does wrong in the method, and in the way, that its mood says; well when it is healthy."""

    type = "moody"
    guarantee = Guarantee.AT_LEAST_ONCE
    Options = MoodyOptions

    def __init__(self, options, context):
        super().__init__(options, context)
        self.does("init", None)

    def does(self, method, well):
        where, _, how = self.options.mood.partition(" ")
        if where != method or self.options.health.exists():
            return well() if well else None
        if how == "hangs":
            pathlib.Path(f"{self.options.path}.{method}").touch()
            threading.Event().wait()
        if how == "exits":
            raise SystemExit(9)
        if how == "mute":
            raise Mute
        if how == "surrogate":
            raise ValueError("\\ud800")
        if how == "fatal":
            raise FatalSinkError("\\ud800 nobody is home")
        if how == "raises":
            raise ZeroDivisionError(f"broken in {method}")
        return eval(how, {**globals(), "batch": getattr(self, "batch", None)})

    def open(self):
        return self.does("open", None)

    def deliver(self, batch):
        self.batch = batch
        def well():
            with pathlib.Path(self.options.path).open("a") as file:
                file.writelines(f"{event.event_id}\\n" for event in batch.events)
            return Report.everything(batch)
        return self.does("deliver", well)

    def tend(self):
        return self.does("tend", None)

    def status(self):
        return self.does("status", None) or ()

    def explain(self, reference):
        return self.does("explain", None) or ()

    def routes(self):
        return self.does("routes", None) or ()

    def check(self):
        return self.does("check", None) or ()

    def close(self):
        self.does("close", None)

@hookimpl
def meter_register_sinks():
    return [Moody]
'''


def install(folder: Path, name: str, source: str, *, module: str | None = None) -> None:
    """Lay a package out as pip leaves it: `meter-NAME`, with the plugin NAME."""
    target = module or f"meter_plugin_{name}"
    info = folder / f"meter_{name}-{VERSION}.dist-info"
    info.mkdir(parents=True)
    if module is None:
        (folder / f"{target}.py").write_text(f"{source}\n")
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: meter-{name}\nVersion: {VERSION}\n"
    )
    (info / "entry_points.txt").write_text(f"[meter]\n{name} = {target}\n")


def known_as(name: str) -> str:
    """Return how meter names a plugin of this folder."""
    return f"{name} (meter-{name} {VERSION})"


def moody(*moods: str) -> dict[str, Any]:
    """Return entries under `sinks:`, one for each mood; `m0` has the first."""
    return {
        f"m{number}": {
            "type": "moody",
            "path": f"m{number}.txt",
            "mood": mood,
            "health": "healthy",
        }
        for number, mood in enumerate(moods)
    }


def taken(folder: Path, sink: str) -> list[str]:
    """Return the event ids that a moody sink wrote, sorted."""
    path = folder / f"{sink}.txt"
    return sorted(path.read_text().splitlines()) if path.exists() else []


def logged(done: subprocess.CompletedProcess[str], event: str) -> list[dict[str, Any]]:
    """Return the log lines of a command among what else is on its standard error."""
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def supplied(meter: Meter, **sinks: object) -> list[books.Usage]:
    """Configure an import into ledger, export and these sinks; answer what each must hold."""
    meter.configure(pipelines(collectors=SOURCE, sinks=sinks))
    return write_events(meter.folder / "events.jsonl", events(COUNT))


def is_complete(meter: Meter, expected: list[books.Usage]) -> bool:
    """Tell whether meter's own sinks hold every event exactly once."""
    return (
        books.in_sqlite(meter.folder / "usage.db") == expected
        and books.in_csv(meter.folder / "exports") == expected
    )
