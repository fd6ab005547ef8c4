"""How often somebody may try a secret: a few at once, then one every few seconds.

Whoever guesses uses up what belongs to their own network, never what belongs to somebody else's:
nobody can be kept out by it, except by a neighbour behind the same address. A browser that was
signed in once has a share of its own even then.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from meter.clock import Clock

__all__ = ["Tries", "network_of"]

AT_ONCE: Final = 10
"""How many tries may come one right after the other."""
EVERY_SECONDS: Final = 5.0
"""How long until another one is free."""
MOST: Final = 4096
"""Of how many networks the tries are remembered: under 1 MB."""
_SITE_BITS: Final = 48
"""A site that has IPv6 has at least as many addresses as are left beyond this."""


class Tries:
    """Counts tries by who makes them; remembers a bounded number of those."""

    def __init__(self, clock: Clock) -> None:
        """Count none yet."""
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()
        """By who: when all their tries are free again, by the monotonic clock."""

    def wait(self, who: str) -> float:
        """Take a try of somebody's; answer 0, or how many seconds it is until one is free."""
        now = self._clock.monotonic()
        until = max(self._until.get(who, now), now) + EVERY_SECONDS
        beyond = until - now - AT_ONCE * EVERY_SECONDS
        if beyond > 0:
            return beyond
        self._until[who] = until
        self._until.move_to_end(who)
        while len(self._until) > MOST:
            self._until.popitem(last=False)
        return 0.0

    def forget(self, who: str) -> None:
        """Give somebody all their tries back: they had the secret."""
        self._until.pop(who, None)


def network_of(address: str) -> str:
    """Name the network that an address is of: an IPv6 site has more than anybody can count."""
    try:
        parsed: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return f"{int(parsed) >> (128 - _SITE_BITS):x}/{_SITE_BITS}"
    return str(parsed)
