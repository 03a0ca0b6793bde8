"""The request models of the providers' own SDKs judge what the adapters send: every field known, none left over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cohere.types
import orjson
import pydantic
import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from google.genai import types as google_types
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pg_trio.domain.chat import Message, Prompt
from pg_trio.domain.options import Options
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.secret import Secret
from pg_trio.providers import adapter_for
from tests.support.prompts import prompts

STRICT: pydantic.config.ExtraValues = "forbid"
# The newest package has no sampling fields any more: no model of today takes them. Older models do.
RETIRED = frozenset({"temperature", "top_p", "top_k"})

CLAUDES = ("claude-3-haiku-20240307", "claude-3-7-sonnet-latest", "claude-opus-4-5", "claude-sonnet-4-6", "claude-next")
GEMINIS = ("gemini-2.0-flash", "gemini-2.5-pro", "gemini-3-pro-preview", "gemini-flash-latest", "tunedModels/mine")
COHERES = ("command-r-plus", "command-a-03-2025", "command-a-reasoning-08-2025")

of_messages = {
    False: pydantic.TypeAdapter[Any](MessageCreateParamsNonStreaming),
    True: pydantic.TypeAdapter[Any](MessageCreateParamsStreaming),
}


class GenerateContent(pydantic.BaseModel):
    """The body of `:generateContent`; the package builds it in code, from models of these types."""

    model_config = pydantic.ConfigDict(extra="forbid")

    contents: list[google_types.Content]
    systemInstruction: google_types.Content | None = None
    tools: list[google_types.Tool] | None = None
    toolConfig: google_types.ToolConfig | None = None
    generationConfig: google_types.GenerationConfig | None = None


class Chat(pydantic.BaseModel):
    """The body of `/v2/chat`; the package has its fields as arguments of a method, of these types."""

    model_config = pydantic.ConfigDict(extra="forbid")

    model: str
    messages: cohere.types.ChatMessages
    stream: bool
    tools: list[cohere.types.ToolV2] | None = None
    strict_tools: bool | None = None
    response_format: cohere.types.ResponseFormatV2 | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    p: float | None = None
    tool_choice: str | None = None
    thinking: cohere.types.Thinking | None = None


def candidate_of(provider: str, model: str) -> Candidate:
    return Candidate(Credential("main", provider, PROVIDERS[provider].base_url or "", Secret("k")), model)


def body_of(provider: str, model: str, prompt: Prompt, *, stream: bool = False) -> dict[str, Any]:
    """What would be sent."""
    request = adapter_for(provider).build_request(prompt, candidate_of(provider, model), stream=stream)
    body: dict[str, Any] = orjson.loads(request.body)
    return body


def assume_fit(provider: str, model: str, prompt: Prompt) -> None:
    """Have another prompt drawn where the candidate cannot take this one."""
    assume(adapter_for(provider).why_unfit(prompt, candidate_of(provider, model)) is None)


def consume(value: Any) -> Any:
    """The value, its iterators read to their end: pydantic validates what they give only then."""
    if isinstance(value, Mapping):
        return {name: consume(item) for name, item in value.items()}
    if isinstance(value, str | bytes | int | float | pydantic.BaseModel) or value is None:
        return value
    return [consume(item) for item in value]


def same(sent: Any, read: Any) -> bool:
    """Whether everything that was sent is in what was read."""
    return bool(orjson.loads(orjson.dumps(sent)) == orjson.loads(orjson.dumps(read)))


many = settings(max_examples=80, suppress_health_check=list(HealthCheck))


@many
@given(prompts(), st.sampled_from(CLAUDES), st.booleans())
def test_anthropic_types_know_all(prompt: Prompt, model: str, stream: bool) -> None:
    assume_fit("anthropic", model, prompt)
    body = body_of("anthropic", model, prompt, stream=stream)

    known = {name: value for name, value in body.items() if name not in RETIRED}

    assert same(known, consume(of_messages[stream].validate_python(known, extra=STRICT)))


@many
@given(prompts(), st.sampled_from(GEMINIS), st.booleans())
def test_google_types_know_all(prompt: Prompt, model: str, stream: bool) -> None:
    assume_fit("google", model, prompt)
    body = body_of("google", model, prompt, stream=stream)

    GenerateContent.model_validate(body, extra=STRICT)


@many
@given(prompts(), st.sampled_from(COHERES), st.booleans())
def test_cohere_types_know_all(prompt: Prompt, model: str, stream: bool) -> None:
    assume_fit("cohere", model, prompt)
    body = body_of("cohere", model, prompt, stream=stream)

    Chat.model_validate(body, extra=STRICT)


@pytest.mark.parametrize(("model", "takes"), [("claude-opus-4-5", True), ("claude-opus-4-7", False)])
def test_sampling_only_where_it_is_taken(model: str, takes: bool) -> None:
    body = body_of("anthropic", model, Prompt((Message("user", "Hi"),), Options(temperature=0.5)))

    assert takes == ("temperature" in body)


def test_judges_see_what_is_wrong() -> None:
    wrong = {"role": "user", "content": [{"type": "text", "text": "Hi", "detail": "high"}]}

    with pytest.raises(pydantic.ValidationError):
        consume(of_messages[False].validate_python({"model": "m", "max_tokens": 1, "messages": [wrong]}, extra=STRICT))
    with pytest.raises(pydantic.ValidationError):
        Chat.model_validate({"model": "m", "stream": False, "messages": [wrong]}, extra=STRICT)
    with pytest.raises(pydantic.ValidationError):
        GenerateContent.model_validate({"contents": [{"role": "user", "parts": [{"txt": "Hi"}]}]}, extra=STRICT)
