"""Times and ages, as people read them."""

from __future__ import annotations

from meter.reports.moments import age, moment

__all__ = ["age", "moment"]
