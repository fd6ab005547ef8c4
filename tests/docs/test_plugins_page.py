"""docs/plugins.md: its tutorial runs, its reference is whole, and its example passes its kit."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from meter import errors, hookspecs
from meter.sinks import Sink
from plugin_reference import all_cases

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text()
METER = Path(sys.executable).with_name("meter")
EXAMPLE = ROOT / "docs" / "examples" / "meter-deepgram-folder"
LINE = (
    '{"kind":"async_completed","provider_id":"t-1","customer_id":"acme","seconds":61.5,'
    '"occurred_at":"2026-11-22T10:00:00Z"}\n'
)


def marked(name: str) -> str:
    (found,) = re.findall(
        rf"<!-- runs: {name} -->\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE
    )
    return str(found)


def block(language: str, holding: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (text,) = [each for each in found if holding in each]
    return str(text)


def run(*command: str | Path, cwd: Path, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(path), "PYTEST_XDIST_WORKER": ""},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def made(folder: Path, name: str) -> Path:
    """Make a package, and lay its metadata beside it as pip does for `-e`."""
    ran = run(METER, "new-sink", name, "--into", folder, cwd=folder, path=folder)
    assert ran.returncode == 0, ran.stderr
    package = folder / f"meter-{name}"
    installed(package, f"meter-{name}", f"{name} = meter_{name}")
    return package


def installed(package: Path, distribution: str, entry: str) -> None:
    info = package / f"{distribution.replace('-', '_')}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[meter]\n{entry}\n")


def passes(package: Path) -> None:
    ran = run(sys.executable, "-m", "pytest", "-q", cwd=package, path=package)
    assert ran.returncode == 0, ran.stdout[-4000:]
    assert " passed" in ran.stdout


@pytest.mark.acceptance
def test_a_new_sink_passes_its_tests_as_it_is_made(tmp_path: Path) -> None:
    package = made(tmp_path, "warehouse")
    sink = (package / "meter_warehouse" / "sink.py").read_text()
    assert len(sink.splitlines()) < 40
    passes(package)


@pytest.mark.acceptance
def test_the_sink_of_the_tutorial_passes_the_kit_and_runs_in_a_pipeline(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    package = made(tmp_path, "warehouse")
    (package / "meter_warehouse" / "sink.py").write_text(marked("duckdb-sink"))
    (package / "tests" / "test_conformance.py").write_text(marked("duckdb-test"))
    passes(package)
    (tmp_path / "pipelines.yaml").write_text(block("yaml", "type: warehouse"))
    (tmp_path / "events.jsonl").write_text(LINE)
    ran = run(METER, "run", "pipelines.yaml", "--once", cwd=tmp_path, path=package)
    assert ran.returncode == 0, ran.stderr
    with duckdb.connect(str(tmp_path / "usage.duckdb")) as db:
        assert [str(x) for x in db.execute("SELECT seconds FROM usage").fetchone()] == [
            "61.500000000"
        ]


@pytest.mark.acceptance
def test_the_example_of_a_collector_passes_its_kit(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    for name in ("meter_deepgram_folder", "tests", "pyproject.toml"):
        (package / name).symlink_to(EXAMPLE / name)
    installed(package, "meter-deepgram-folder", "deepgram_folder = meter_deepgram_folder")
    passes(package)


@pytest.mark.parametrize("name", ["9lives", "Upper", "a--b", "x" * 41, "class", "a/b", "sqlite"])
def test_a_name_that_cannot_be_a_sinks_is_refused(name: str, tmp_path: Path) -> None:
    ran = run(METER, "new-sink", name, cwd=tmp_path, path=tmp_path)
    assert ran.returncode == 2
    assert name[:30] in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "meter-warehouse").mkdir()
    ran = run(METER, "new-sink", "warehouse", cwd=tmp_path, path=tmp_path)
    assert ran.returncode == 2
    assert "is there already" in ran.stderr


def test_every_hook_method_record_and_error_is_on_the_page() -> None:
    for name in vars(hookspecs):
        if name.startswith("meter_"):
            assert f"### `{name}`" in PAGE
    for name, member in vars(Sink).items():
        if inspect.isfunction(getattr(member, "__func__", member)) and not name.startswith("_"):
            assert f"#### `Sink.{name}`" in PAGE
    for name in errors.__all__:
        assert name in PAGE
    for kit in ("SinkConformance", "CollectorConformance"):
        assert all_cases(kit) in PAGE


def test_every_hook_and_every_error_is_tested() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    for name in (*(n for n in vars(hookspecs) if n.startswith("meter_")), *errors.__all__):
        assert name in tests, name


def test_every_option_of_a_bundled_plugin_is_in_the_reference() -> None:
    reference = (ROOT / "docs" / "configuration.md").read_text()
    for entry in importlib.metadata.entry_points(group="meter"):
        if entry.dist is None or entry.dist.name != "usage-meter":
            continue
        hook = getattr(entry.load(), "meter_register_sinks", None)
        for cls in () if hook is None else hook():
            assert f"`sinks`: `type: {cls.type}`" in reference
            for option in cls.Options.model_fields:
                assert f"| `{option}` |" in reference
