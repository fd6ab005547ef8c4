"""Reading a file stays cheap: nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys


def test_nothing_heavy_is_imported() -> None:
    heavy = ("stripe", "assemblyai", "httpx", "sqlite_utils", "uvicorn", "rich", "sqlite3")
    script = f"import sys, meter.config; print([m for m in {heavy!r} if m in sys.modules])"

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
