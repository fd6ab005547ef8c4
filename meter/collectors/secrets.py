"""The secrets that a collector takes: its own and, while that is being rotated, the previous one.

Whoever sends secrets cannot change all at once: jobs that were submitted yesterday carry the value
of yesterday. So a collector takes two for as long as that lasts (docs/rotate-a-secret.md).
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, Field

from meter.sinks import Secret
from meter.sinks.options import none_if_empty

__all__ = ["PreviousSecret", "Secrets"]

PreviousSecret: TypeAlias = Annotated[
    Secret | None,
    AfterValidator(none_if_empty),
    Field(
        description="What `secret` was before: taken as well while senders change to the new one. "
        "Empty is none."
    ),
]


class Secrets:
    """Compares what came with each secret, in constant time."""

    def __init__(
        self, secret: Secret, previous: Secret | None, log: logging.LoggerAdapter[logging.Logger]
    ) -> None:
        """Keep digests only.

        Args:
            secret: the one that holds.
            previous: the one of before, if it is taken still.
            log: is told when the previous one is sent: at the 1st, 2nd, 4th, 8th … time, so that a
                person sees whether it can go, and a flood stays readable.
        """
        self._log: Final = log
        self._digest: Final = _digest(secret.get_secret_value().encode())
        self._previous: Final = (
            None if previous is None else _digest(previous.get_secret_value().encode())
        )
        self._times = 0

    def admits(self, given: bytes) -> bool:
        """Tell whether it is one of them."""
        digest = _digest(given)
        if hmac.compare_digest(digest, self._digest):
            return True
        if self._previous is None or not hmac.compare_digest(digest, self._previous):
            return False
        self._times += 1
        if self._times & (self._times - 1) == 0:
            self._log.info("secret.previous", extra={"times": self._times})
        return True


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
