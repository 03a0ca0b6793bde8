"""Which candidates can carry what a request holds.

Rules:
1. A candidate that cannot is passed over, with the reason in its row. That is no try, and its breaker learns nothing.
2. What is left is the plan of this request: its race, its hedges and its retries know no other candidates. A candidate
   that is left alone has all the time there is.
3. Only a request that holds more than text is judged, and only where an adapter says that its wire cannot carry all.
"""

from __future__ import annotations

import math

import trio
from attrs import evolve

from pg_trio.domain.chat import Prompt
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.options import NO_OPTIONS
from pg_trio.domain.project import Candidate
from pg_trio.errors import NoFitCandidate, RequestUnfit
from pg_trio.stages.provider_call.exchange import Exchange
from pg_trio.stages.provider_call.plan import CallPlan


def holds_more_than_text(prompt: Prompt) -> bool:
    """Whether there is something in the prompt that a wire may not carry."""
    if prompt.tools or prompt.tool_choice is not None or prompt.options is not NO_OPTIONS:
        return True
    return any(message.tool_calls or isinstance(message.content, tuple) for message in prompt.messages)


def is_picky(candidates: tuple[Candidate, ...], exchange: Exchange) -> bool:
    """Whether a wire of theirs does not carry all that a prompt can hold."""
    return not all(exchange.adapters(candidate.provider).carries_all for candidate in candidates)


def leave_out_unfit(plan: CallPlan, prompt: Prompt, attempts: Attempts, exchange: Exchange) -> CallPlan:
    """The plan with those candidates alone that can carry the prompt. Raises NoFitCandidate."""
    fit: list[Candidate] = []
    reasons: list[tuple[str, str]] = []
    for candidate in plan.candidates:
        what = exchange.adapters(candidate.provider).why_unfit(prompt, candidate)
        if what is None:
            fit.append(candidate)
            continue
        reasons.append((what, f"{candidate.provider}/{candidate.model}"))
        attempts.pass_over(candidate, trio.current_time(), f"{candidate.provider} cannot take {what}", RequestUnfit.why)
    if not reasons:
        return plan
    if not fit:
        raise NoFitCandidate(reasons)
    limit_s = plan.attempt_limit_s if len(fit) > 1 else math.inf
    return evolve(plan, candidates=tuple(fit), attempt_limit_s=limit_s)
