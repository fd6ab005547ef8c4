"""API keys of the Stripe double: which account, which mode, and what a restricted key may do."""

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Literal, TypeAlias, get_args

from meter.sandbox.stripe_refusals import StripeRefusal

Permission: TypeAlias = Literal[
    "billing_meter_read",
    "billing_meter_write",
    "billing_meter_event_write",
    "billing_meter_event_adjustment_write",
    "billing_meter_event_summary_read",
    "customer_read",
    "customer_write",
    "product_read",
    "product_write",
    "price_read",
    "price_write",
    "event_read",
]
"""One per resource and direction; Stripe's refusals name them with `rak_` before."""

EVERYTHING: frozenset[Permission] = frozenset(get_args(Permission))
SANDBOX_ACCOUNT = "acct_sandbox"
_SHAPE = re.compile(r"(?:sk|rk)_(?:test|live)_\w+")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StripeKey:
    """What a key opens.

    Attributes:
        account: The id of its account.
        permissions: What it may do; write includes read. Secret keys may do everything.
        connected: Further accounts that it may name in `Stripe-Account`.
    """

    account: str = SANDBOX_ACCOUNT
    permissions: frozenset[Permission] = EVERYTHING
    connected: frozenset[str] = frozenset()

    def may(self, permission: Permission) -> bool:
        """Whether the key has the permission, or the one that includes it."""
        write = permission.removesuffix("_read") + "_write"
        return permission in self.permissions or write in self.permissions


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the account that is meant, the mode, and the key by its masked name."""

    key: StripeKey
    shown: str
    account: str
    livemode: bool

    def require(self, permission: Permission) -> None:
        """Refuse what the key may not do, in Stripe's words."""
        if self.key.may(permission):
            return
        raise StripeRefusal(
            403,
            f"The provided key '{self.shown}' does not have the required permissions for this "
            f"endpoint on account '{self.account}'. Having the 'rak_{permission}' permission "
            "would allow this request to continue.",
        )


class StripeKeys:
    """The accepted keys. None given: any key of the right shape opens the sandbox's account."""

    def __init__(self, keys: Mapping[str, StripeKey] | Collection[str] = ()) -> None:
        self._keys: dict[str, StripeKey] = (
            dict(keys) if isinstance(keys, Mapping) else {key: StripeKey() for key in keys}
        )

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """Return who asks.

        Raises:
            StripeRefusal: 401 for a key that is missing or unknown; 403 for an account that
                is none of its own.
        """
        scheme, _, text = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise unauthorized("You did not provide an API key.")
        key = self._keys.get(text)
        if key is None and not self._keys and _SHAPE.fullmatch(text):
            key = StripeKey()
        if key is None:
            raise unauthorized(f"Invalid API Key provided: {masked(text)}")
        account = headers.get("stripe-account") or key.account
        if account not in {key.account, *key.connected}:
            raise StripeRefusal(
                403,
                f"The provided key '{masked(text)}' does not have access to account "
                f"'{account}' (or that account does not exist).",
                code="account_invalid",
            )
        return Caller(key, masked(text), account, livemode="_live_" in text)


def unauthorized(message: str) -> StripeRefusal:
    """Return the 401."""
    headers = {"www-authenticate": 'Bearer realm="Stripe"'}
    return StripeRefusal(401, message, headers=headers)


def masked(key: str) -> str:
    """Return a key as Stripe shows it: its kind and its last four characters."""
    kind = re.match(r"(?:sk|rk)_(?:test|live)_", key)
    prefix = kind.group() if kind else ""
    return f"{prefix}{'*' * 10}{key[-4:]}"
