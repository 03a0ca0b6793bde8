"""What a model is told whose answer did not match: `output_repair_attempts`.

The answer goes back as the assistant's turn, and why it does not match as the user's. A second round has those of the
first one in front of it, as a conversation has.
"""

from __future__ import annotations

from attrs import evolve

from pg_trio.domain.chat import Message, Prompt, Reply
from pg_trio.errors import OutputInvalid

# 65,536 characters of a failed answer: one that ran away would cost more input than the answer is worth.
ANSWER_CHARS = 64 * 1024

_ASKED = (
    "Your answer was not accepted: {why}. Answer again, with one JSON value that is right, and with nothing around it: "
    "no explanation, no Markdown."
)


def may_ask_again(reply: Reply) -> bool:
    """Whether another round can help: calls of tools wait for their results, and a filter says no again."""
    return not reply.tool_calls and reply.finish_reason != "content_filter"


def ask_again(prompt: Prompt, reply: Reply, failure: OutputInvalid) -> Prompt:
    """The prompt of the next round."""
    answer = (reply.content or "")[:ANSWER_CHARS]
    why = f"{failure.where}: {failure.why}"
    turns = (Message("assistant", answer),) if answer.strip() else ()
    return evolve(prompt, messages=(*prompt.messages, *turns, Message("user", _ASKED.format(why=why))))
