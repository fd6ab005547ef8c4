"""Pages from templates: everything that is put in is escaped. Jinja2 is loaded at the first one."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meter.server.desk import words
from meter.server.desk.answers import STATIC, versioned

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Templates"]


class Templates:
    """The templates of the page. Methods may be called from any thread."""

    @cached_property
    def _environment(self) -> Environment:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader(Path(__file__).with_name("templates"), "utf-8"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.filters |= {
            "shown": words.shown,
            "spelt": words.spelt,
            "count": words.count,
            "seconds": words.seconds,
            "hours": words.hours,
            "lasting": words.lasting,
            "stamp": words.stamp,
            "day": words.day,
        }
        environment.globals |= {
            "address": words.address,
            "ago": words.ago,
            "files": {path.rpartition("/")[2]: versioned(path) for path in STATIC},
        }
        return environment

    is_loaded = False
    """Whether `load` is done."""

    def load(self, *templates: str) -> None:
        """Read templates, so that pages of them are made without waiting for a disk."""
        for template in templates:
            self._environment.get_template(f"{template}.html")
        self.is_loaded = True

    def page(self, template: str, /, **given: Any) -> str:
        """Return the page that a template makes of what it is given."""
        return self._environment.get_template(f"{template}.html").render(**given)
