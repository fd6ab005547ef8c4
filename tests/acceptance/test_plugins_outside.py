"""A sink in a package outside this repository is found, shown and delivered to."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from acceptance.events import events, write_events
from acceptance.packages import NAME, VERSION, Stranger, wheel
from acceptance.process import Meter, pipelines

pytestmark = pytest.mark.acceptance


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH in which pip has installed the stranger's wheel."""
    folder = tmp_path / "installed"
    quiet = ("--quiet", "--no-index", "--no-deps", "--no-cache-dir", "--disable-pip-version-check")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *quiet, "--target", folder, wheel(tmp_path)],
        check=True,
    )
    return folder


def test_a_sink_that_pip_installed_is_found_and_delivered_to(
    meter: Meter, stranger: Stranger
) -> None:
    listed = meter.command("plugins", "--json")
    assert listed.returncode == 0, listed.stderr
    (found,) = [row for row in json.loads(listed.stdout)["types"] if row["type"] == "stranger"]
    assert (found["distribution"], found["version"]) == (NAME, VERSION)
    assert found["guarantee"] == "at least once"

    meter.configure(
        pipelines(
            collectors={"import": {"type": "jsonl", "path": "events.jsonl"}},
            sinks={"theirs": stranger.options},
        )
    )
    expected = write_events(meter.folder / "events.jsonl", events(25))
    done = meter.once()
    assert done.returncode == 0, done.stderr
    assert stranger.delivered() == [row.event_id for row in expected]
    assert meter.status()[0] == 0
