"""The rules of other services of one endpoint, compiled; and what their verdicts do to a request.

Rules:
1. They run after the local rules, in the order of the contract, each on the text as the earlier ones left it.
2. A service is sent each distinct text of a request once, in the request's order. A text that it replaces is replaced
   wherever it is.
3. A name, an id or an object's key cannot be replaced, and a call's arguments only by arguments with the same keys. A
   request in which that would be needed is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias
from uuid import UUID

from attrs import frozen

from pg_trio.domain.chat import Reply
from pg_trio.domain.client_request import ClientRequest
from pg_trio.domain.event_source import EventSource
from pg_trio.domain.guardrails import GuardPhase, GuardrailRules, GuardrailVerdict, Moderation, Webhook
from pg_trio.domain.value import value
from pg_trio.errors import WebhookBlocked
from pg_trio.racing.large_work import LargeWork
from pg_trio.stages.guardrails.pii_masks import Guarded, Masks, UnmaskableError, mask_request, parse_arguments
from pg_trio.stages.guardrails.remote.answer_check import (
    UNREPLACEABLE,
    EndCheckedSource,
    replace_in_answer,
    texts_of_answer,
)
from pg_trio.stages.guardrails.remote.beside import Check, hold_beside
from pg_trio.stages.guardrails.remote.moderation import ModerationWire
from pg_trio.stages.guardrails.remote.remote_call import RemoteCaller, ServiceGuard
from pg_trio.stages.guardrails.remote.webhook import WebhookWire
from pg_trio.stages.guardrails.remote_guard import RemoteCheck, RemoteGuard

# Gets each verdict of a request that is let pass.
Tell: TypeAlias = Callable[[GuardrailVerdict], None]
# The reason of a refusal where a replacement is not possible.
FIXED = "a name, a key or a tool call's arguments would have to be replaced."


@value(slots=True)
class Whose:
    """The request that is checked, and its deadline on Trio's clock."""

    project: str
    endpoint: str
    request_id: UUID
    ends_at: float


@frozen(slots=True, eq=False)
class RemoteGuards:
    """`before`: for requests, before the provider's call; `beside`: beside it; `after`: for answers."""

    before: tuple[RemoteGuard, ...]
    beside: tuple[RemoteGuard, ...]
    after: tuple[RemoteGuard, ...]
    _large_work: LargeWork

    @property
    def reads_requests(self) -> bool:
        """Whether any of them is for requests."""
        return bool(self.before or self.beside)

    async def check_request(self, request: Guarded, whose: Whose, tell: Tell) -> Guarded:
        """The request as the services leave it; the same object if none replaced a text.

        Raises GuardrailBlocked, or GuardrailFailed.
        """
        for guard in self.before:
            size = request.characters()
            texts = await self._large_work.call(size, distinct_texts, request)
            verdict = await guard.check(_ask(texts, whose))
            if verdict.texts is not None:
                masks = {old: new for old, new in zip(texts, verdict.texts, strict=True) if old != new}
                request = await self._large_work.call(size, replace_texts, request, masks)
            for each in verdict.verdicts:
                tell(each)
        return request

    def check_beside(self, request: ClientRequest, whose: Whose, tell: Tell) -> Check | None:
        """The check to run beside the provider's call; None if there is none."""
        check: Check | None = None
        for guard in reversed(self.beside):
            one = partial(self._check_one, guard, request, whose, tell)
            check = one if check is None else partial(_check_both, one, check)
        return check

    async def _check_one(self, guard: RemoteGuard, request: ClientRequest, whose: Whose, tell: Tell) -> None:
        texts = await self._large_work.call(request.characters(), distinct_texts, request)
        verdict = await guard.check(_ask(texts, whose))
        for each in verdict.verdicts:
            tell(each)

    async def check_answer(self, reply: Reply, whose: Whose, tell: Tell) -> Reply:
        """The whole answer as the services leave it. Raises GuardrailBlocked, or GuardrailFailed."""
        for guard in self.after:
            texts = texts_of_answer(reply)
            verdict = await guard.check(_ask(texts, whose, "output"))
            if verdict.texts is not None:
                masks = {old: new for old, new in zip(texts, verdict.texts, strict=True) if old != new}
                reply = replace_in_answer(reply, masks)
            for each in verdict.verdicts:
                tell(each)
        return reply

    def check_end(self, source: EventSource, whose: Whose, tell: Tell) -> EventSource:
        """The streamed answer, whose end waits for the services' verdicts."""

        async def check(texts: Sequence[str]) -> None:
            for guard in self.after:
                verdict = await guard.check(_ask(texts, whose, "output"))
                if verdict.texts is not None:
                    raise WebhookBlocked(UNREPLACEABLE, phase="output", rule="replace")
                for each in verdict.verdicts:
                    tell(each)

        return EndCheckedSource(source, check) if self.after else source


def compile_remote(rules: GuardrailRules, caller: RemoteCaller) -> RemoteGuards | None:
    """The compiled rules; None if there are none."""
    asked = _compile_pair(rules.webhook, rules.moderation, caller)
    if rules.webhook is not None and "input" not in rules.webhook.phase:
        asked = [guard for guard in asked if guard.guardrail != WebhookWire.guardrail]
    webhook = rules.output.webhook
    if webhook is None and rules.webhook is not None and "output" in rules.webhook.phase:
        webhook = rules.webhook
    after = _compile_pair(webhook, rules.output.moderation, caller)
    if not asked and not after:
        return None
    return RemoteGuards(
        before=tuple(guard for guard in asked if not guard.parallel),
        beside=tuple(guard for guard in asked if guard.parallel),
        after=tuple(after),
        large_work=caller.large_work,
    )


def _compile_pair(
    webhook: Webhook | None, moderation: Moderation | None, caller: RemoteCaller
) -> Sequence[RemoteGuard]:
    guards: list[RemoteGuard] = []
    if webhook is not None and webhook.enabled:
        guards.append(ServiceGuard(WebhookWire.of(webhook), caller, flags=webhook.mode == "flag"))
    if moderation is not None and moderation.enabled and moderation.credential is not None:
        wire = ModerationWire.of(moderation, moderation.credential)
        guards.append(ServiceGuard(wire, caller, flags=moderation.mode == "flag"))
    return guards


async def _check_both(one: Check, other: Check) -> None:
    held = await hold_beside(one, other)
    if held.refused is not None:
        raise held.refused


def _ask(texts: Sequence[str], whose: Whose, phase: GuardPhase = "input") -> RemoteCheck:
    return RemoteCheck(phase, texts, whose.project, whose.endpoint, whose.request_id, whose.ends_at)


def distinct_texts(request: ClientRequest) -> list[str]:
    """Each text of the request that a provider would be sent, once, in the request's order; no empty ones."""
    return list(dict.fromkeys(text for text in request.texts() if text))


def replace_texts(request: Guarded, masks: Masks) -> Guarded:
    """The request with these texts replaced wherever they are. Raises WebhookBlocked where one cannot be."""
    if not masks:
        return request
    refusal = WebhookBlocked(FIXED, rule="replace")
    try:
        replaced = mask_request(request, masks)
    except UnmaskableError:
        raise refusal from None
    # What is among the replacements is there because the service wants it.
    left = masks.keys() & set(replaced.texts()) - set(masks.values())
    if left or not _are_arguments_replaced(request, replaced, masks):
        raise refusal
    return replaced


def _are_arguments_replaced(request: ClientRequest, replaced: ClientRequest, masks: Masks) -> bool:
    """Whether each call's arguments are those that the service gave. Masking keeps them JSON and writes them anew."""
    before = [call for message in request.messages for call in message.tool_calls]
    after = [call for message in replaced.messages for call in message.tool_calls]
    return all(
        _say_the_same(masks[old.arguments], new.arguments)
        for old, new in zip(before, after, strict=True)
        if old.arguments in masks
    )


def _say_the_same(wanted: str, written: str) -> bool:
    if wanted == written:
        return True
    meant = parse_arguments(wanted)
    try:
        return meant is not None and meant == parse_arguments(written)
    except RecursionError:
        return False
