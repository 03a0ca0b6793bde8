"""Select the candidates that can carry a request's content.

Rules:
1. A candidate that cannot carry it is passed over, and its row has the reason. This is not an attempt, and the
   candidate's breaker does not count it.
2. The race, the hedges and the retries of this request use only the remaining candidates. If one candidate remains, it
   gets all of the remaining time.
3. Only a request with more than text is checked, and only if a wire of the candidates cannot carry everything; or a
   request in a provider's own dialect, which may hold something that only that wire has.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import trio
from attrs import evolve

from pg_trio.domain.chat import Prompt
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.options import NO_OPTIONS
from pg_trio.domain.project import Candidate
from pg_trio.errors import NoFitCandidate, RequestUnfit
from pg_trio.stages.provider_call.call_plan import CallPlan
from pg_trio.stages.provider_call.exchange import Exchange


def holds_more_than_text(prompt: Prompt) -> bool:
    """Whether the prompt holds something that a wire may be unable to carry."""
    if prompt.tools or prompt.tool_choice is not None or prompt.options is not NO_OPTIONS:
        return True
    return any(message.tool_calls or isinstance(message.content, tuple) for message in prompt.messages)


def is_picky(candidates: tuple[Candidate, ...], exchange: Exchange) -> bool:
    """Whether a candidate's wire cannot carry everything that a prompt can hold."""
    return not all(exchange.adapters(candidate.provider).carries_all for candidate in candidates)


def leave_out_unfit(plan: CallPlan, prompt: Prompt, attempts: Attempts, exchange: Exchange) -> CallPlan:
    """The plan with only the candidates that can carry the prompt. Raises NoFitCandidate."""
    return leave_out(plan, lambda one: exchange.adapters(one.provider).why_unfit(prompt, one), attempts)


def leave_out(plan: CallPlan, why_unfit: Callable[[Candidate], str | None], attempts: Attempts) -> CallPlan:
    """The plan with only the candidates for which `why_unfit` has no reason. Raises NoFitCandidate."""
    fit: list[Candidate] = []
    reasons: list[tuple[str, str]] = []
    for candidate in plan.candidates:
        what = why_unfit(candidate)
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
