"""Find plugins, load them one at a time, and say exactly which one is broken.

pluggy's own loader stops at the first broken entry point, skips a repeated name silently and
accepts a misspelt hook; here each of these becomes a named fault of one plugin. A plugin that
hangs is waited for no longer than `METER_PLUGIN_SECONDS` (20 seconds when that is not set).
"""

from __future__ import annotations

from meter.plugins.api_version import Support
from meter.plugins.guard import blamed, described, first_line, text_of
from meter.plugins.hooks import PATIENCE_SECONDS, Plugins, load_plugins
from meter.plugins.records import Extension, Plugin, Types

__all__ = [
    "PATIENCE_SECONDS",
    "Extension",
    "Plugin",
    "Plugins",
    "Support",
    "Types",
    "blamed",
    "described",
    "first_line",
    "load_plugins",
    "text_of",
]
