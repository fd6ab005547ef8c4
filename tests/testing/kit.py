"""Runs the kit on plugins of the shelf, which no package manager installed."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SHELF = Path(__file__).with_name("shelf")
ENTRY_POINTS = "[meter]\nshelf = shelf_sinks\n"
METADATA = "Metadata-Version: 2.1\nName: shelf-sinks\nVersion: 1\n"


@dataclass(frozen=True)
class Outcome:
    passed: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def run_kit(
    folder: Path,
    sinks: Collection[str],
    *arguments: str,
    only: Mapping[str, Collection[str]] | None = None,
    mode: str = "",
    points: int = 10,
    file: str = "conformance.py",
) -> dict[str, Outcome]:
    """Run the kit on sinks of the shelf, in a pytest of its own, as their authors would.

    `only` names the cases that are run of each sink; all of them, if it is not given.
    """
    metadata = folder / "installed" / "shelf_sinks-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    (metadata / "METADATA").write_text(METADATA)
    found = folder / "found.xml"
    options = ("-q", "-p", "no:cacheprovider", "-c", os.devnull, "--import-mode=importlib")
    names = [f"TestSink{number}" for number in range(len(sinks))]
    of = dict(zip(names, sinks, strict=True))
    path = str(SHELF / file)
    wanted = [path]
    if only is not None:
        wanted = [f"{path}::{name}::{case}" for name, sink in of.items() for case in only[sink]]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", *options, f"--rootdir={SHELF}"),
            *(f"--junitxml={found}", f"--basetemp={folder / 'tmp'}", *wanted, *arguments),
        ],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(metadata.parent), str(SHELF)]),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # half of the time that so small a run takes
            "SHELF_SINKS": ",".join(sinks),
            "SHELF_MODE": mode,
            "SHELF_KILL_POINTS": str(points),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.exists(), done.stdout + done.stderr
    outcomes = {sink: Outcome() for sink in sinks}
    for item in ET.parse(found).iter("testcase"):
        outcome = outcomes[of[item.get("classname", "").rpartition(".")[2]]]
        case = item.get("name", "").partition("[")[0]
        marks = {child.tag: child.get("message", "") for child in item}
        if "failure" in marks or "error" in marks:
            outcome.failed[case] = marks.get("failure") or marks.get("error", "")
        elif "skipped" in marks:
            outcome.skipped[case] = marks["skipped"]
        else:
            outcome.passed.add(case)
    return outcomes
