"""Takes the pictures of docs/page.md again, in a real Chromium, of the journal that tests look at.

PYTHONPATH=tests python tests/acceptance/desk_screenshots.py
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from acceptance.devtools import Browser
from server.desk.scene import REFUSED, SECRET, fill
from server.desk.serving import served

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
PICTURES = (
    ("overview", "/", (1280, 1400), False),
    ("phone", "/", (360, 1420), True),
    ("event", f"/desk/event?id={REFUSED}", (1280, 1330), False),
)
"""The name of each, its address, the size of the window, and whether it is dark."""


def main() -> None:
    """Take them."""
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        os.chdir(folder)  # so that commands name the file as people do
        browser = Browser(Path(folder, "browser"))
        try:
            with served(Path(), secret=SECRET) as desk:
                fill(desk.journal, desk.clock.now())
                browser.open(f"{desk.url}/")
                browser.type("Dana")
                browser.press("Tab", 9)
                browser.type(SECRET)
                browser.loaded_by("document.forms[0].requestSubmit()")
                for name, path, size, dark in PICTURES:
                    browser.see(*size, dark=dark)
                    browser.open(desk.url + path)
                    (FOLDER / f"{name}.png").write_bytes(browser.picture())
        finally:
            browser.close()


if __name__ == "__main__":
    main()
