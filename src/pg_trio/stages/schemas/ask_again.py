"""Ask a model again after its answer did not match the schema: `output_repair_attempts`.

The next prompt repeats the answer as the assistant's turn and adds the reason of the mismatch as the user's turn.
A second round also keeps the two turns of the first, like any conversation.
"""

from __future__ import annotations

from attrs import evolve

from pg_trio.domain.chat import Message, Prompt, Reply
from pg_trio.errors import OutputInvalid

# At most 65,536 characters of a failed answer are repeated, because a runaway answer would cost too much input.
ANSWER_CHARS = 64 * 1024

_ASKED = (
    "Your answer was not accepted: {why}. Answer again, with one JSON value that is right, and with nothing around it: "
    "no explanation, no Markdown."
)


def may_ask_again(reply: Reply) -> bool:
    """Whether another round can help. It cannot after tool calls, which wait for results, or after a content filter."""
    return not reply.tool_calls and reply.finish_reason != "content_filter"


def ask_again(prompt: Prompt, reply: Reply, failure: OutputInvalid) -> Prompt:
    """The prompt of the next round."""
    answer = (reply.content or "")[:ANSWER_CHARS]
    why = f"{failure.where}: {failure.why}"
    turns = (Message("assistant", answer),) if answer.strip() else ()
    return evolve(prompt, messages=(*prompt.messages, *turns, Message("user", _ASKED.format(why=why))))
