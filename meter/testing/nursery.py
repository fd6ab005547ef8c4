"""A process that has meter imported and forks children: each is there at once.

A child is a process of its own from before the plugin under test is imported: what it does, how it
dies and what it leaves is as if it had been started from a shell. Talks in JSON lines: standard
input has requests, standard output has answers.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from importlib import import_module
from importlib.metadata import distribution
from typing import Any, Final

__all__ = ["main"]

PRELOADED: Final = (
    "meter.cli",
    "meter.cli.run",
    "meter.collectors.ingest",
    "meter.collectors.jsonl",
    "meter.collectors.relay.collector",
    "meter.collectors.webhook",
    "meter.config",
    "meter.delivery",
    "meter.journal.sqlite_journal",
    "meter.server.running",
)
"""What `meter run` imports anyway, plugins apart; named, since the kit may not import the CLI."""


def main(package: str) -> None:
    """Serve requests until standard input ends; in a child, run `meter`.

    Args:
        package: the top-level package of the plugin under test; it is not imported here.
    """
    for name in PRELOADED:
        import_module(name)
    _preload_beside(package)
    from meter.testing import child

    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "poll" in request:
            _answer(_code_of(request["poll"]))
        elif pid := os.fork():
            _answer(pid)
        else:
            _become(request)
            child.main(*request["arguments"])
            return


def _preload_beside(package: str) -> None:
    """Import the sinks that come with meter, which every `meter run` looks at, but not this one."""
    ours = distribution("usage-meter").entry_points.select(group="meter")
    for entry_point in ours:
        if entry_point.module.partition(".")[0] != package:
            with suppress(Exception):  # the child itself says what cannot be imported
                entry_point.load().meter_register_sinks()


def _become(request: dict[str, Any]) -> None:
    """Take over the place, the environment and the outputs that the request names."""
    sys.path[:] = request["path"]
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environ"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    os.close(output)


def _code_of(pid: int) -> int | None:
    """Return a child's exit code, once; negative for a signal, None while it runs."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _answer(value: int | None) -> None:
    os.write(1, json.dumps(value).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1])
