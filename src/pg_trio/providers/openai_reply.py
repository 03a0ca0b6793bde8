"""Reads a whole answer of the OpenAI wire.

Rules:
1. It is a JSON object whose first choice has a message. Fields of the answer's own text or calls must be readable;
   fields that the gateway does not need may hold anything.
2. It has text or tool calls. An empty text is accepted only if the finish reason explains it (`length`: a reasoning
   model used its whole limit for reasoning, and its message may be missing; `content_filter`). An empty text with
   `stop` is usually a provider's fault, and as a stream it could not win the race, so the next candidate is asked.
3. A refusal is an answer: its text is the content, and `content_filter` the reason it stopped, because nothing else
   tells the client that this is not the requested answer.
4. Tool calls with `stop` finish with `tool_calls`: OpenAI says `stop` where `tool_choice` forced the function, and a
   client may go by the finish reason alone. `tool_calls` without a call is a failure, because the calls were lost.
5. A missing finish reason is `stop` (or `tool_calls`): the answer is whole, and Ollama sometimes sends null.
6. An answer that ends with `error`, or has an `error` with content, has failed.
7. A stream that was not requested is read and assembled.

Sources, read 2026-11: OpenAI's openapi.yaml (openai/openai-openapi); mistralai/client-ts, docs/models/components;
console.groq.com/docs/api-reference; docs.ollama.com/api/openai-compatibility; rule 4:
community.openai.com/t/function-call-with-finish-reason-of-stop/437226; tests/recordings/<provider>/ name their own.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from attrs import evolve

from pg_trio.domain.assembler import Assembler
from pg_trio.domain.chat import Json, Reply
from pg_trio.domain.events import Broken
from pg_trio.domain.project import Candidate
from pg_trio.errors import UpstreamNonsense
from pg_trio.providers.finish_reasons import read_finish
from pg_trio.providers.json_text import mend_values, read_json
from pg_trio.providers.native_stop import read_matched_stop
from pg_trio.providers.no_answer import no_json, no_object, said_instead
from pg_trio.providers.openai_fields import (
    decide_finish,
    is_bare,
    read_model,
    read_part,
    refuse,
    reply_id,
    why_failed,
    write_bare,
)
from pg_trio.providers.openai_stream import OpenAIStreamReader
from pg_trio.providers.openai_tools import read_tool_calls
from pg_trio.providers.openai_usage import read_usage
from pg_trio.providers.reasoning import REASONING_FIELDS, find_reasoning, is_reasoning_part, read_reasoning_part
from pg_trio.providers.said import read_error_message, says_error
from pg_trio.providers.sse import as_stream, begins_as_stream, check_lines, is_json_lines

_MESSAGE = "choices[0].message"
# OpenAI's choices have four fields. A fifth may say which stop sequence matched.
_CHOICE_FIELDS = 4
# Fields of a message that say more than its text.
_RARE = REASONING_FIELDS | {"tool_calls", "function_call"}


def read_whole_answer(headers: Mapping[str, str], body: bytes, candidate: Candidate) -> Reply:
    """The answer in the body of a 2xx. Raises AttemptFailed; see the rules above."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        if begins_as_stream(body):
            return _read_stream(body, candidate)
        if is_json_lines(body):
            check_lines(body)
            return _read_stream(as_stream(body), candidate)
        answer = _read_odd_json(exc, headers, body, candidate)
    return read_answer(answer, candidate)


def read_answer(answer: Json, candidate: Candidate) -> Reply:
    """The answer in this JSON value. Raises UpstreamNonsense; see the rules above."""
    try:
        # Nearly always: one choice, which is a text that has ended. Only lists and objects come through this.
        [choice] = answer["choices"]
        message, finish_reason = choice["message"], choice["finish_reason"]
        content = message["content"]
    except (KeyError, TypeError, ValueError):
        return _read_any(answer, candidate)
    if (
        finish_reason != "stop"
        or type(content) is not str
        or not content
        or not _RARE.isdisjoint(message)
        or choice.get("error")
        or answer.get("error")
    ):
        return _read_any(answer, candidate)
    named = answer.get("model")
    reply = Reply(
        reply_id(answer.get("id"), candidate),
        named if named == candidate.model else read_model(named, candidate),
        content,
        "stop",
        read_usage(answer.get("usage")),
    )
    return _with_more(reply, choice) if len(choice) > _CHOICE_FIELDS or choice.get("logprobs") else reply


def _read_any(answer: Json, candidate: Candidate) -> Reply:
    """The same for all other answers, and for what is none."""
    if type(answer) is not dict:
        raise no_object(answer, candidate)
    if answer.get("error") is not None and says_error(answer["error"]):
        raise _said_error(answer, candidate)
    answer = _open_envelope(answer)
    choice = _first_choice(answer, candidate)
    message = choice.get("message")
    if type(message) is not dict:
        message = _message_of(choice)
    has_calls = message.get("tool_calls") or message.get("function_call")
    tool_calls = read_tool_calls(message, _MESSAGE) if has_calls else ()
    content, refused, reasoning = _read_content(message)
    finish_reason = choice.get("finish_reason")
    if finish_reason != "stop" or tool_calls or refused:
        # Not the usual end.
        finish_reason = decide_finish(read_finish(finish_reason), bool(tool_calls), refused)
    if finish_reason == "error" or choice.get("error"):
        _refuse_failed(choice, message, candidate)
    if not content and not tool_calls and finish_reason not in ("length", "content_filter"):
        if says_error(message.get("error")):
            raise said_instead(why_failed(None, message), candidate)
        raise UpstreamNonsense(f"{_MESSAGE} has neither content nor tool calls")
    reply = Reply(
        id=reply_id(answer.get("id"), candidate),
        model=read_model(answer.get("model"), candidate),
        content=None if tool_calls and not content else content,
        finish_reason=finish_reason,
        usage=read_usage(answer.get("usage"), is_empty=not content and not tool_calls),
        tool_calls=tool_calls,
        reasoning=reasoning,
    )
    return _with_more(reply, choice) if len(choice) > _CHOICE_FIELDS or choice.get("logprobs") else reply


def _with_more(reply: Reply, choice: dict[str, Json]) -> Reply:
    logprobs = choice.get("logprobs")
    return evolve(reply, logprobs=logprobs if type(logprobs) is dict else None, stop=read_matched_stop(choice))


# ── the envelope ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _read_stream(body: bytes, candidate: Candidate) -> Reply:
    """The answer in a stream that was not requested."""
    check_lines(body)
    reader, assembler = OpenAIStreamReader(candidate), Assembler(keeps_reasoning=True)
    for event in reader.feed(body) + reader.close():
        if isinstance(event, Broken):
            raise event.failure
        assembler.add(event)
    return assembler.reply()


def _read_odd_json(
    error: orjson.JSONDecodeError, headers: Mapping[str, str], body: bytes, candidate: Candidate
) -> Json:
    try:
        return mend_values(read_json(body))
    except (orjson.JSONDecodeError, RecursionError):
        raise no_json(error, headers, body, candidate) from None


def _open_envelope(answer: dict[str, Json]) -> dict[str, Json]:
    """The completion in the envelope of a provider's own API: `{"result": {…}, "success": true}`."""
    if "choices" not in answer:
        for name in ("result", "data", "response"):
            inner = answer.get(name)
            if type(inner) is dict and inner.get("choices"):
                return inner
    return answer


def _said_error(answer: dict[str, Json], candidate: Candidate) -> UpstreamNonsense:
    said = read_error_message(answer.get("error")) or read_error_message(answer) or "no message"
    return said_instead(said, candidate)


def _refuse_failed(choice: dict[str, Json], message: dict[str, Json], candidate: Candidate) -> None:
    """Raise for a failed choice: its finish reason is `error`, or it has an error with content."""
    meaning = read_finish(choice.get("finish_reason"))
    if meaning == "tool_calls" and not choice.get("error"):
        raise UpstreamNonsense(f"{_MESSAGE} has no tool calls, though its finish reason says so")
    if meaning == "error" or says_error(choice.get("error")):
        said = why_failed(choice.get("finish_reason"), choice, message)
        raise said_instead(said, candidate)


# ── the choice ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _first_choice(answer: dict[str, Json], candidate: Candidate) -> dict[str, Json]:
    choices = answer.get("choices")
    if type(choices) is not list or not choices:
        said = None if type(choices) is dict else read_error_message(answer)
        if said is not None and not choices:
            raise said_instead(said, candidate)
        if type(choices) is list:
            raise UpstreamNonsense("choices is empty")
        refuse("choices", choices, "a list")
    choice = choices[0]
    if type(choice) is dict and len(choices) == 1:
        return choice
    if len(choices) > 1:
        # Requests never ask for more than one. The choice with index 0 is the answer, at any position.
        choice = next((one for one in choices if type(one) is dict and one.get("index", 1) == 0), choice)
    if type(choice) is not dict:
        refuse("choices[0]", choice, "an object")
    found: dict[str, Json] = choice
    return found


def _message_of(choice: dict[str, Json]) -> dict[str, Json]:
    """The message of a choice that has none under its name."""
    message = choice.get("message")
    if message is not None:
        refuse(_MESSAGE, message, "an object")
    if type(choice.get("text")) is str:
        # The older completions.
        return {"content": choice["text"]}
    ended = read_finish(choice.get("finish_reason"))
    delta = choice.get("delta")
    if type(delta) is dict and ended != "none":
        # A stream's only chunk instead of an answer. Without a finish reason it would be the first chunk of a cut
        # stream.
        return delta
    if ended not in ("length", "content_filter", "error"):
        refuse(_MESSAGE, message, "an object")
    return {}


def _read_content(message: dict[str, Json]) -> tuple[str, bool, str | None]:
    """(The text of a message, or ""; whether it is a refusal; the reasoning beside it.)

    Shape: content is a string, null, a part, or a list of them (Mistral: reasoning models answer with `thinking` and
           `text` parts, others add `reference` ones); only the text parts are the answer.
    """
    content, reasoning, refusal = message.get("content"), None, None
    if is_bare(content):
        content = write_bare(content, f"{_MESSAGE}.content")
    elif type(content) is dict:
        content = [content]
    if type(content) is list:
        content, reasoning, refusal = _read_parts(content)
    elif not content:
        content = ""
    elif type(content) is not str:
        refuse(f"{_MESSAGE}.content", content, "a string")
    reasoning = find_reasoning(message) or reasoning
    if content:
        return content, False, reasoning
    refusal = refusal or message.get("refusal")
    if not refusal:
        return "", False, reasoning
    if type(refusal) is not str:
        refuse(f"{_MESSAGE}.refusal", refusal, "a string")
    return refusal, True, reasoning


def _read_parts(parts: list[Json]) -> tuple[str, str | None, str | None]:
    """The text, the reasoning and the refusal in a list of parts."""
    texts, thoughts, refusals = list[str](), list[str](), list[str]()
    for index, part in enumerate(parts):
        if type(part) is dict and is_reasoning_part(part):
            thoughts.append(read_reasoning_part(part))
        elif type(part) is dict and part.get("type") == "refusal" and type(part.get("refusal")) is str:
            refusals.append(part["refusal"])
        else:
            texts.append(read_part(part, f"{_MESSAGE}.content[{index}]"))
    return "".join(texts), "".join(thoughts) or None, "".join(refusals) or None
