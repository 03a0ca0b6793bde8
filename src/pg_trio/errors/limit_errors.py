"""Limits and budgets that are used up."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from attrs import define

from pg_trio.errors.gateway_error import CallerError, OwnStateError


@define(slots=False, eq=False)
class RateLimited(CallerError):
    """A limit of the endpoint or of the token is used up; `scope` names it. `retry_after_s` is the time until there is
    more, rounded up."""

    status = 429
    scope: str
    retry_after_s: int
    text = "Rate limit exceeded."

    def fields(self) -> dict[str, object]:
        return {"scope": self.scope, "retry_after": self.retry_after_s}

    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_s)}


@define(slots=False, eq=False)
class TokenCapExceeded(CallerError):
    """The request's estimated input is over the endpoint's `usage_hard_limit_tokens`."""

    status = 422
    estimated_tokens: int
    cap_tokens: int

    @property
    def text(self) -> str:
        return (
            f"Request exceeds endpoint per-request token limit: ~{self.estimated_tokens} tokens estimated,"
            f" cap is {self.cap_tokens}."
        )


@define(slots=False, eq=False)
class BudgetExhausted(CallerError):
    """The amount spent reaches the month's budget. If less is spent but the request does not fit:
    `BudgetWouldBeExceeded`."""

    status = 422
    spent_usd: Decimal
    budget_usd: Decimal

    @property
    def text(self) -> str:
        return (
            f"Endpoint monthly budget exhausted: ~${self.spent_usd:.4f} spent, budget ${self.budget_usd:.2f}."
            " Resets at the start of next month."
        )


@define(slots=False, eq=False)
class BudgetWouldBeExceeded(CallerError):
    """The month's budget is not spent, but the possible cost of this request does not fit into the rest.

    `reserved_usd` is reserved by other running requests, `estimated_usd` is the reservation that this one needs.
    """

    status = 422
    spent_usd: Decimal
    reserved_usd: Decimal
    estimated_usd: Decimal
    budget_usd: Decimal
    whose: ClassVar[str] = "Endpoint"

    @property
    def text(self) -> str:
        parts = (
            (self.spent_usd, "spent"),
            (self.reserved_usd, "reserved"),
            (self.estimated_usd, "estimated for this request"),
        )
        told = " + ".join(f"~${usd:.4f} {what}" for usd, what in parts if usd)
        return (
            f"{self.whose} monthly budget would be exceeded: {told}, budget ${self.budget_usd:.2f}."
            " Resets at the start of next month."
        )


@define(slots=False, eq=False)
class TokenBudgetExhausted(BudgetExhausted):
    """The same, of the month's budget of a client token's holder."""

    @property
    def text(self) -> str:
        return (
            f"Token monthly budget exhausted: ~${self.spent_usd:.2f} spent, budget ${self.budget_usd:.2f}."
            " Resets at the start of next month."
        )


@define(slots=False, eq=False)
class TokenBudgetWouldBeExceeded(BudgetWouldBeExceeded):
    """The same, of the month's budget of a client token's holder."""

    whose = "Token"


@define(slots=False, eq=False)
class TooManyHolders(OwnStateError):
    """Nothing more can be counted by subject this month: `gateway.client_subjects` have limits or a budget already.

    Tokens of those subjects, and tokens without limits, can still be minted.
    """

    status = 503
    text = "Too many subjects with limits."
