"""Which version of the plugin API a plugin was written for, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meter import hookspecs
from meter.errors import PluginError

if TYPE_CHECKING:
    from meter.plugins.records import Plugin

__all__ = ["ATTRIBUTE", "Support", "declared"]

ATTRIBUTE: Final = "meter_api_version"
"""What a plugin sets, beside its hooks."""


@dataclass(frozen=True, slots=True)
class Support:
    """The versions of the plugin API that this meter can work with.

    Attributes:
        newest: the one that it is written for itself.
        full: the oldest that it supports fully; what is older works, with a warning.
        oldest: the oldest that works at all.
    """

    newest: int = hookspecs.API_VERSION
    full: int = hookspecs.FULLY_SUPPORTED
    oldest: int = hookspecs.OLDEST_SUPPORTED

    def judge(self, plugin: Plugin) -> str | None:
        """Return what to warn of, or None when there is nothing to say.

        Raises:
            PluginError: the plugin was written for a version that does not work any more.
        """
        version = plugin.api_version
        if version < self.oldest:
            raise PluginError(
                f"it was written for version {version} of meter's plugin API, and this meter works "
                f"with {self._span()}; update {plugin.distribution}"
            )
        if version < self.full:
            return (
                f"it was written for version {version} of meter's plugin API, which a later meter "
                f"will refuse; update {plugin.distribution} to one for version {self.newest}"
            )
        if version > self.newest:
            return (
                f"it was written for version {version} of meter's plugin API, and this meter knows "
                f"{self._span()}: what it counts on may be missing; update usage-meter"
            )
        return None

    def _span(self) -> str:
        if self.oldest == self.newest:
            return f"version {self.newest}"
        return f"versions {self.oldest} to {self.newest}"


def declared(loaded: object) -> int:
    """Return the version that a plugin says it was written for; 1 when it says none.

    Raises:
        PluginError: what it says is no version.
    """
    version = getattr(loaded, ATTRIBUTE, 1)
    if not isinstance(version, int) or isinstance(version, bool):
        raise PluginError(
            f"{ATTRIBUTE} is {version!r}; expected a whole number, such as {hookspecs.API_VERSION}"
        )
    return version
