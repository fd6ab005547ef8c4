"""Reconciling: the provider against the journal against every sink, to the id.

Nothing is changed and nothing is invented: what differs is named, and a person decides. Usage goes
on meanwhile, so nothing is accused at first sight: what differs is looked at once more, in an order
in which whatever was under way is settled by then, or told as under way.

Everything that grows with the number of events is in a scratch database, so that memory does not.
"""

from __future__ import annotations

from meter.reports.reconciling.records import Difference, Side, Window

__all__ = ["Difference", "Side", "Window"]
