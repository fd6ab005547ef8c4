"""Ids of the Stripe double: in Stripe's shapes, and the same for the same seed."""

import hashlib
import itertools

LENGTH = 24


class StripeIds:
    """Makes ids; the same seed gives the same ids in the order in which they are asked for."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._numbers = itertools.count(1)

    def new(self, prefix: str) -> str:
        """Return a new id, such as `cus_…`."""
        return derived(prefix, self._seed, next(self._numbers))


def derived(prefix: str, *parts: object) -> str:
    """Return an id that depends on nothing but `parts`."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).hexdigest()
    return f"{prefix}_{digest[:LENGTH]}"
