"""A sink in a package of its own, outside the repository, as a stranger would publish it."""

import base64
import hashlib
import zipfile
from pathlib import Path

NAME, VERSION = "meter-stranger", "3.1.4"
SINK_TYPE = "stranger"
ENTRY_POINTS = "[meter]\nstranger = meter_stranger\n"
METADATA = f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
DIST_INFO = f"meter_stranger-{VERSION}.dist-info"

MODULE = '''\
"""Writes event ids to a file, in the mood that another file says."""

import threading
from pathlib import Path

from meter import hookimpl
from meter.errors import FatalSinkError, RetryableSinkError
from meter.sinks import FilePath, Guarantee, Options, Report, Sink


class StrangerOptions(Options):
    path: FilePath
    mood: FilePath


class StrangerSink(Sink):
    type = "stranger"
    guarantee = Guarantee.AT_LEAST_ONCE
    Options = StrangerOptions

    def deliver(self, batch):
        mood = self.options.mood.read_text() if self.options.mood.exists() else "well"
        if mood == "broken":
            raise ZeroDivisionError("broken for ever")
        if mood == "busy":
            raise RetryableSinkError("busy")
        if mood == "fatal":
            raise FatalSinkError("nobody is home")
        if mood == "hanging":
            self.options.mood.with_suffix(".hangs").touch()
            threading.Event().wait()
        if mood == "silent":
            return Report()
        if mood.startswith("poison ") and mood[7:] in {e.provider_id for e in batch.events}:
            raise ZeroDivisionError("poison")
        refused = mood[8:] if mood.startswith("refuses ") else ""
        taken = [e.event_id for e in batch.events if e.provider_id != refused]
        left = {e.event_id: "not wanted" for e in batch.events if e.provider_id == refused}
        with Path(self.options.path).open("a") as file:
            file.writelines(f"{event_id}\\n" for event_id in taken)
        return Report(delivered=taken, rejected=left)


@hookimpl
def meter_register_sinks():
    return [StrangerSink]
'''


def unpacked(folder: Path) -> Path:
    """Lay the package out as pip leaves it; PYTHONPATH=folder finds it and its metadata."""
    (folder / DIST_INFO).mkdir(parents=True)
    (folder / "meter_stranger.py").write_text(MODULE)
    (folder / DIST_INFO / "METADATA").write_text(METADATA)
    (folder / DIST_INFO / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


def wheel(folder: Path) -> Path:
    """Make a wheel without any build tool, which may not be at hand offline."""
    files = {
        "meter_stranger.py": MODULE,
        f"{DIST_INFO}/METADATA": METADATA,
        f"{DIST_INFO}/WHEEL": WHEEL,
        f"{DIST_INFO}/entry_points.txt": ENTRY_POINTS,
    }
    record = [f"{name},{_digest(text)},{len(text.encode())}" for name, text in files.items()]
    files[f"{DIST_INFO}/RECORD"] = "\n".join([*record, f"{DIST_INFO}/RECORD,,", ""])
    path = folder / f"meter_stranger-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


class Stranger:
    """The sink `theirs` of a meter's folder: its entry, its mood, and what it was given."""

    options = {"type": SINK_TYPE, "path": "theirs.txt", "mood": "mood.txt"}  # noqa: RUF012  never changed

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def feels(self, mood: str) -> None:
        """Change its mood in one step, so that no half of it is ever read."""
        draft = self._folder / "mood.draft"
        draft.write_text(mood)
        draft.replace(self._folder / "mood.txt")

    def hangs(self) -> bool:
        return (self._folder / "mood.hangs").exists()

    def delivered(self) -> list[str]:
        path = self._folder / "theirs.txt"
        return sorted(path.read_text().splitlines()) if path.exists() else []
