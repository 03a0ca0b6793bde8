"""The checks of an answer that is complete: those of a stream (answer_filter.py), in one go."""

from __future__ import annotations

from attrs import evolve

from pg_trio.domain.assembler import Assembler
from pg_trio.domain.chat import Reply
from pg_trio.domain.events import events_of
from pg_trio.domain.guardrails import GuardrailVerdict
from pg_trio.domain.native_content import content_of
from pg_trio.stages.guardrails.output.answer_filter import AnswerFilter
from pg_trio.stages.guardrails.output.answer_length import LengthRule
from pg_trio.stages.guardrails.output.text_window import WindowRules


def check_reply(reply: Reply, rules: WindowRules, length: LengthRule | None) -> tuple[Reply, list[GuardrailVerdict]]:
    """The answer with what the rules mask, the same object if nothing was; and the verdicts.

    Raises: GuardrailBlocked.
    """
    verdicts: list[GuardrailVerdict] = []
    answer = AnswerFilter(rules, length, verdicts.append)
    given = events_of(reply)
    passed = answer.take(given)
    if not any(verdict.action == "mask" for verdict in verdicts):
        return reply, verdicts
    assembler = Assembler(keeps_reasoning=True)
    for event in passed:
        assembler.add(event)
    masked = assembler.reply_so_far()
    calls = zip(reply.tool_calls, masked.tool_calls, strict=True)
    return (
        evolve(
            reply,
            content=None if reply.content is None else masked.content or "",
            tool_calls=tuple([evolve(call, arguments=new.arguments) for call, new in calls]),
            reasoning=masked.reasoning,
            reasoning_blocks=masked.reasoning_blocks,
            # It has the tokens as they were.
            logprobs=None,
            native_content=content_of(passed) if reply.native_content else (),
        ),
        verdicts,
    )
