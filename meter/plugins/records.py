"""What is known of the plugins: where each comes from, and the types that it registered."""

from __future__ import annotations

import builtins
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from meter.errors import PluginError

__all__ = ["Extension", "Plugin", "Types"]

T = TypeVar("T")


@dataclass
class Plugin:
    """One entry point: where it comes from, and what went wrong with it if anything did.

    Attributes:
        error: why it, or a part of it, cannot be used.
        api_version: the version of the plugin API that it was written for.
        warnings: what works today and should be seen to.
        hooks: the hooks that it implements, sorted.
    """

    name: str
    distribution: str
    version: str
    module: str
    error: str | None = None
    api_version: int = 1
    warnings: list[str] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Name the plugin as people know it."""
        return f"{self.name} ({self.distribution} {self.version})"


@dataclass(frozen=True)
class Extension(Generic[T]):
    """A sink or collector class and the plugin that registered it."""

    type: str
    cls: builtins.type[T]
    plugin: Plugin


@dataclass(frozen=True)
class Types(Generic[T]):
    """The types that plugins registered under one section of the pipelines file.

    Attributes:
        noun: what they are called in messages.
        found: by type, each registered by exactly one plugin.
        taken: types that more than one plugin claims, with the claimants.
        broken: plugins that could not be asked; what they offer is unknown.
    """

    noun: str
    found: dict[str, Extension[T]] = field(default_factory=dict)
    taken: dict[str, list[Plugin]] = field(default_factory=dict)
    broken: list[Plugin] = field(default_factory=list)

    def names(self) -> list[str]:
        """Return the usable types, sorted."""
        return sorted(self.found)

    def claim(self, name: str, cls: builtins.type[T], owner: Plugin) -> None:
        """Note that a plugin offers a type; a second plugin makes it ambiguous.

        Raises:
            PluginError: the plugin offers two classes under one name.
        """
        if name in self.taken:
            self.taken[name].append(owner)
        elif name not in self.found:
            self.found[name] = Extension(name, cls, owner)
        elif self.found[name].plugin is owner:
            raise PluginError(f"it registers the {self.noun} type {name!r} twice")
        else:
            self.taken[name] = [self.found.pop(name).plugin, owner]

    def resolve(self, name: str) -> Extension[T]:
        """Return the class of a type.

        Raises:
            PluginError: unknown, claimed twice, or perhaps offered by a plugin that is broken;
                the text says which, and names the nearest type.
        """
        if name in self.taken:
            claimants = " and ".join(str(plugin) for plugin in self.taken[name])
            raise PluginError(
                f"{self.noun} type {name!r} is registered by {claimants}; uninstall one of them"
            )
        if name in self.found:
            return self.found[name]
        import difflib

        close = difflib.get_close_matches(name, self.names(), n=1)
        text = f"no {self.noun} type {name!r}"
        text += f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(self.names())}"
        if self.broken:
            text += (
                " (" + "; ".join(f"plugin {p} did not load: {p.error}" for p in self.broken) + ")"
            )
        raise PluginError(text)
