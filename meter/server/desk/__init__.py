"""The operator's page: how much was used, is all of it delivered, what is stuck, how to free it.

One page at `/` and what it leads to under `/desk/`, made on the server: no build step, nothing
from elsewhere, and it works without JavaScript.
"""

from __future__ import annotations

from meter.server.desk.operator import OperatorDesk

__all__ = ["OperatorDesk"]
