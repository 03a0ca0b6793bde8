"""The OpenAI wire, `POST /chat/completions`: OpenAI, Mistral, Groq, Together, Ollama, and every server that speaks it.

Rules of a whole answer:
1. It is a JSON object whose first choice has a message. Fields of the wrong type make it nonsense, null means absent.
2. It says something: text or tool calls. An empty text counts only where the finish reason explains it (`length`: a
   reasoning model spent its whole limit thinking; `content_filter`). An empty text with `stop` is a provider's
   hiccup far more often than an answer, and as a stream it could never win: the next candidate is asked.
3. A refusal is an answer: its text is the content, and `content_filter` the reason it stopped, because nothing else
   tells the client that this is not what was asked for.
4. Tool calls with `stop` finish with `tool_calls`: OpenAI says `stop` where `tool_choice` forced the function, and a
   client may go by the finish reason alone. `tool_calls` without any is `error`: the calls were lost on the way.
5. No finish reason at all is `stop` (or `tool_calls`): the answer is whole, and Ollama leaves it null at times. One
   that we do not know is `error`.

Sources, read 2026-11: OpenAI's openapi.yaml (openai/openai-openapi); mistralai/client-ts, docs/models/components;
console.groq.com/docs/api-reference; docs.ollama.com/api/openai-compatibility; rule 4:
community.openai.com/t/function-call-with-finish-reason-of-stop/437226; tests/recordings/<provider>/ name their own.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import orjson

from pg_trio.domain.chat import Json, Prompt, Reply, ToolCall
from pg_trio.domain.project import Candidate
from pg_trio.domain.upstream import WireRequest
from pg_trio.errors import UpstreamNonsense
from pg_trio.providers.openai_fields import (
    dump_arguments,
    read_finish_reason,
    read_model,
    read_text_part,
    read_usage,
    refuse,
    reply_id,
)
from pg_trio.providers.openai_request import route_to, write_body
from pg_trio.providers.openai_stream import OpenAIStreamReader, is_event_stream
from pg_trio.providers.refusal import mask_for, read_refusal
from pg_trio.providers.said import read_error_message


class OpenAIAdapter:
    """Speaks the OpenAI wire to any provider of it."""

    def build_request(self, prompt: Prompt, candidate: Candidate, *, stream: bool = False) -> WireRequest:
        """The HTTP request that asks this candidate; what the prompt leaves open is not in its body."""
        route = route_to(candidate)
        body = write_body(prompt, candidate.model, route)
        if stream:
            body["stream"] = True
            if route.provider.asks_for_stream_usage:
                body["stream_options"] = {"include_usage": True}
        return WireRequest(
            route.url,
            route.headers,
            orjson.dumps(body),
            allow_private_addresses=candidate.credential.allow_private_addresses,
            is_stream=stream,
        )

    def why_unfit(self, prompt: Prompt, candidate: Candidate) -> str | None:
        """None: this wire carries all that a prompt can hold, and its servers judge it."""
        return None

    def is_stream(self, status: int, headers: Mapping[str, str], candidate: Candidate) -> bool:
        """Whether the body of this answer is for `open_stream`; otherwise it is for `read_reply`, once it is whole."""
        return is_event_stream(status, headers, candidate)

    def open_stream(self, candidate: Candidate) -> OpenAIStreamReader:
        """A reader for the body of one streamed answer."""
        return OpenAIStreamReader(candidate)

    def read_reply(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
    ) -> Reply:
        """A whole answer. Raises: UpstreamRefused for every status but 2xx; UpstreamNonsense (see the rules above)."""
        if not 200 <= status < 300:
            raise read_refusal(status, headers, body, candidate, now_s=now_s)
        answer = _read_object(headers, body, candidate)
        choice = _first_choice(answer)
        message = choice.get("message")
        if type(message) is not dict:
            refuse("choices[0].message", message, "an object")
        tool_calls = _read_tool_calls(message["tool_calls"]) if message.get("tool_calls") is not None else ()
        content, refused = _read_content(message)
        finish_reason = read_finish_reason(choice.get("finish_reason"), bool(tool_calls), refused)
        if not content and not tool_calls and finish_reason not in ("length", "content_filter"):
            raise UpstreamNonsense("choices[0].message has neither content nor tool calls")
        return Reply(
            id=reply_id(answer.get("id"), candidate),
            model=read_model(answer.get("model"), candidate),
            content=None if tool_calls and not content else content,
            finish_reason=finish_reason,
            usage=read_usage(answer.get("usage")),
            tool_calls=tool_calls,
        )


# ── a whole answer ───────────────────────────────────────────────────────────────────────────────────────────────────


def _read_object(headers: Mapping[str, str], body: bytes, candidate: Candidate) -> dict[str, Json]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise UpstreamNonsense(mask_for(candidate, f"the answer is not JSON: {_why_not(exc, headers, body)}")) from None
    if type(answer) is not dict:
        refuse("the answer", answer, "an object")
    if answer.get("error") is not None:
        said = read_error_message(answer["error"]) or "no message"
        raise UpstreamNonsense(mask_for(candidate, f"an error in an answer with status 200: {said}"))
    return answer


def _why_not(error: orjson.JSONDecodeError, headers: Mapping[str, str], body: bytes) -> str:
    # Not the parser's own text where it would quote; position and size tell a cut body from a foreign one.
    if not body:
        why = "its body is empty"
    elif "UTF-8: " in error.msg:
        why = f"invalid UTF-8 in {len(body)} bytes"
    else:
        why = f"error at character {error.pos} of {len(body)} bytes"
    content_type = headers.get("content-type")
    if content_type is None:
        return f"{why}, no content type"
    return why if "json" in content_type.lower() else f"{why}, content type {content_type}"


def _first_choice(answer: dict[str, Json]) -> dict[str, Json]:
    choices = answer.get("choices")
    if type(choices) is not list:
        refuse("choices", choices, "a list")
    if not choices:
        raise UpstreamNonsense("choices is empty")
    choice = choices[0]
    if type(choice) is not dict:
        refuse("choices[0]", choice, "an object")
    return choice


def _read_content(message: dict[str, Json]) -> tuple[str, bool]:
    """The text of a message, "" where it has none; and whether it is a refusal.

    Shape: content is a string, null, or a list of parts (Mistral: reasoning models answer with `thinking` and `text`
           parts, others add `reference` ones); only the text parts are the answer.
    """
    content = message.get("content")
    if content is None:
        content = ""
    elif type(content) is list:
        content = "".join(
            [read_text_part(part, f"choices[0].message.content[{index}]") for index, part in enumerate(content)]
        )
    elif type(content) is not str:
        refuse("choices[0].message.content", content, "a string")
    if content:
        return content, False
    refusal = message.get("refusal")
    if refusal is None:
        return "", False
    if type(refusal) is not str:
        refuse("choices[0].message.refusal", refusal, "a string")
    return refusal, bool(refusal)


def _read_tool_calls(calls: Json) -> tuple[ToolCall, ...]:
    if type(calls) is not list:
        refuse("choices[0].message.tool_calls", calls, "a list")
    return tuple([_read_tool_call(call, f"choices[0].message.tool_calls[{index}]") for index, call in enumerate(calls)])


def _read_tool_call(call: Json, where: str) -> ToolCall:
    if type(call) is not dict:
        refuse(where, call, "an object")
    function = call.get("function")
    if type(function) is not dict:
        refuse(f"{where}.function", function, "an object")
    call_id, name, arguments = call.get("id"), function.get("name"), function.get("arguments")
    if call_id is not None and type(call_id) is not str:
        refuse(f"{where}.id", call_id, "a string")
    if type(name) is not str:
        refuse(f"{where}.function.name", name, "a string")
    if type(arguments) is dict:
        # Mistral's schema allows the object itself in place of its text.
        arguments = dump_arguments(arguments, f"{where}.function.arguments")
    elif type(arguments) is not str:
        refuse(f"{where}.function.arguments", arguments, "a string")
    # Without an id the client could not send the result back.
    return ToolCall(call_id or f"call_{secrets.token_hex(12)}", name, arguments)
