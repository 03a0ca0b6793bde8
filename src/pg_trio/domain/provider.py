"""The providers we know, as data: where they are, which wire they speak, and how they deviate from it.

A new provider of a known wire is one row here and one recording; a new wire is an adapter in `providers/` besides.
docs/providers.md is made from this table. Sources: each provider's API reference, read 2026-11, at its row.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from attrs import field, frozen

from pg_trio.domain.model_rules import (
    CEREBRAS_EFFORTS,
    DEEPSEEK_EFFORTS,
    DEEPSEEK_MODELS,
    DEEPSEEK_THINKING,
    GROQ_EFFORTS,
    MISTRAL_EFFORTS,
    OPENAI_EFFORTS,
    OPENAI_MODELS,
    XAI_EFFORTS,
    XAI_MODELS,
    EffortRule,
    ModelRule,
)

Wire: TypeAlias = Literal["openai", "anthropic", "google", "cohere"]

# The lowest budget of thinking that Anthropic's API accepts ("Extended thinking", read 2026-11).
MIN_THINKING_TOKENS = 1024


@frozen(slots=True)
class Embeddings:
    """What a provider's embeddings take. `most_inputs` of them in one call; a request with more is split.

    `dimensions_field`: the field that says how long vectors shall be; None where there is none.
    `takes_tokens`: an input may be tokens in place of a text. `asks_base64`: vectors are asked for in base64.
    `takes_user`: the provider has a field for the client's id of its own user; otherwise that is left out.
    """

    most_inputs: int
    dimensions_field: str | None = "dimensions"
    takes_tokens: bool = False
    asks_base64: bool = False
    takes_user: bool = False


# An answer may have 16 MiB (`upstream.max_body_bytes`), so a call has fewer inputs than the 2,048 that OpenAI takes. In
# base64, 1,000 vectors of the largest model (3,072 numbers of 5.4 characters) are 15.7 MiB. As JSON, 128 vectors of
# 4,096 numbers of 22 characters are 11 MiB.
_OPENAI_EMBEDDINGS = Embeddings(1_000, takes_tokens=True, asks_base64=True, takes_user=True)
_IN_JSON = 128
_COMPATIBLE_EMBEDDINGS = Embeddings(_IN_JSON, takes_tokens=True)


@frozen(slots=True)
class Provider:
    """A provider's public facts. `base_url` has no trailing slash; None where every customer has an own address.

    `key_header`: the header that carries the key, behind `key_prefix`. `output_limit_field`: the field that limits the
    answer's tokens. `refused_fields`: fields of the wire that are a 400 there, and only change style: they are left
    out. `model_rules`: the same for some models; the first that matches holds. `effort_rules`: the words of
    `reasoning_effort` that some models accept; the first that matches holds. `returns_signatures`: signatures of tool
    calls (Gemini's) go back in the call. `returns_reasoning`: models whose name matches this pattern refuse an
    assistant's message without its reasoning. `names_every_role`: messages of any role
    may have a `name`; otherwise only tool messages may, and the provider refuses others. `nine_character_call_ids`: ids
    of tool calls must be nine letters and digits; the provider refuses others. `call_id_chars`: the longest tool call
    id that the provider accepts at its own address (None: any). `asks_for_stream_usage`: a stream has usage only if
    `stream_options` asks for it; otherwise the provider refuses that field, at its own address. `marks_partial_answer`:
    a last assistant message that the model must continue needs a mark. `thinking_tag`: the text of an answer may begin
    with reasoning between these tags (`providers.thinking_tags`). `embeddings`: what its embeddings take; None
    where it has none, or none that are documented.
    """

    name: str
    base_url: str | None
    wire: Wire = "openai"
    needs_key: bool = True
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "
    output_limit_field: str = "max_tokens"
    refused_fields: frozenset[str] = field(default=frozenset())
    model_rules: tuple[ModelRule, ...] = ()
    effort_rules: tuple[EffortRule, ...] = ()
    returns_signatures: bool = False
    returns_reasoning: re.Pattern[str] | None = None
    names_every_role: bool = True
    nine_character_call_ids: bool = False
    call_id_chars: int | None = None
    asks_for_stream_usage: bool = True
    marks_partial_answer: bool = False
    thinking_tag: str | None = None
    embeddings: Embeddings | None = None


PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(
            "openai",
            "https://api.openai.com/v1",
            output_limit_field="max_completion_tokens",
            model_rules=OPENAI_MODELS,
            effort_rules=OPENAI_EFFORTS,
            # A 400 for a longer one: "Expected a string with maximum length 40" (agno-agi/agno#5382).
            call_id_chars=40,
            embeddings=_OPENAI_EMBEDDINGS,
        ),
        Provider(
            "mistral",
            "https://api.mistral.ai/v1",
            names_every_role=False,
            nine_character_call_ids=True,
            # Usage comes without a request in the last chunk; `stream_options` is a 422, "Extra inputs are not
            # permitted" (avante-corp/avante.nvim#2347).
            asks_for_stream_usage=False,
            # `prefix`, or a 400: "Expected last role User or Tool (or Assistant with prefix True)".
            marks_partial_answer=True,
            # `random_seed` is its word; `seed`, `user` and `logit_bias` are "Extra inputs" too.
            refused_fields=frozenset({"seed", "user", "logit_bias", "store", "metadata", "service_tier"}),
            effort_rules=MISTRAL_EFFORTS,
            # docs.mistral.ai/api/endpoint/embeddings: texts alone.
            embeddings=Embeddings(_IN_JSON, "output_dimension"),
        ),
        Provider("groq", "https://api.groq.com/openai/v1", effort_rules=GROQ_EFFORTS, thinking_tag="think"),
        # Some of its models report usage only on request (vercel/ai#17986). Its embeddings have `model` and `input`,
        # texts alone.
        Provider(
            "together", "https://api.together.xyz/v1", thinking_tag="think", embeddings=Embeddings(_IN_JSON, None)
        ),
        # $OLLAMA_BASE_URL replaces this address if it is set (config). Its OpenAI compatibility has no arrays of
        # tokens.
        Provider(
            "ollama",
            "http://localhost:11434/v1",
            needs_key=False,
            thinking_tag="think",
            embeddings=Embeddings(_IN_JSON),
        ),
        Provider("anthropic", "https://api.anthropic.com/v1", "anthropic", key_header="x-api-key", key_prefix=""),
        Provider(
            "google",
            "https://generativelanguage.googleapis.com/v1beta",
            "google",
            key_header="x-goog-api-key",
            key_prefix="",
            # "at most 100 requests can be in one batch", a 400 (langchain-ai/langchainjs#4491).
            embeddings=Embeddings(100, "outputDimensionality"),
        ),
        # docs.cohere.com/reference/embed: "Maximum number of texts per call is `96`".
        Provider("cohere", "https://api.cohere.com/v2", "cohere", embeddings=Embeddings(96, "output_dimension")),
        # Any server that speaks OpenAI's wire: the credential says where it is and what it wants.
        Provider("openai_compatible", None, needs_key=False, thinking_tag="think", embeddings=_COMPATIBLE_EMBEDDINGS),
        # learn.microsoft.com, "Azure OpenAI v1 API": https://NAME.openai.azure.com/openai/v1
        Provider(
            "azure",
            None,
            key_header="api-key",
            key_prefix="",
            output_limit_field="max_completion_tokens",
            model_rules=OPENAI_MODELS,
            effort_rules=OPENAI_EFFORTS,
            embeddings=_OPENAI_EMBEDDINGS,
        ),
        Provider("openrouter", "https://openrouter.ai/api/v1"),
        Provider(
            "deepseek",
            "https://api.deepseek.com/v1",
            model_rules=DEEPSEEK_MODELS,
            effort_rules=DEEPSEEK_EFFORTS,
            # "The `reasoning_content` in the thinking mode must be passed back to the API", a 400
            # (api-docs.deepseek.com/guides/thinking_mode, read 2026-11-29).
            returns_reasoning=DEEPSEEK_THINKING,
        ),
        Provider("xai", "https://api.x.ai/v1", model_rules=XAI_MODELS, effort_rules=XAI_EFFORTS),
        Provider("fireworks", "https://api.fireworks.ai/inference/v1", thinking_tag="think"),
        Provider("perplexity", "https://api.perplexity.ai", thinking_tag="think"),
        # inference-docs.cerebras.ai, "OpenAI compatibility": these three are a 400.
        Provider(
            "cerebras",
            "https://api.cerebras.ai/v1",
            output_limit_field="max_completion_tokens",
            refused_fields=frozenset({"frequency_penalty", "presence_penalty", "logit_bias"}),
            effort_rules=CEREBRAS_EFFORTS,
        ),
        Provider("sambanova", "https://api.sambanova.ai/v1", thinking_tag="think"),
        Provider("nvidia", "https://integrate.api.nvidia.com/v1", thinking_tag="think"),
        Provider("huggingface", "https://router.huggingface.co/v1", thinking_tag="think"),
        # docs.aws.amazon.com/bedrock, "OpenAI Chat Completions": https://bedrock-runtime.REGION.amazonaws.com/openai/v1
        Provider(
            "bedrock",
            None,
            output_limit_field="max_completion_tokens",
            model_rules=OPENAI_MODELS,
            effort_rules=OPENAI_EFFORTS,
            thinking_tag="reasoning",
        ),
        # cloud.google.com/vertex-ai, "OpenAI compatibility": …/locations/LOCATION/endpoints/openapi
        Provider("vertex", None, returns_signatures=True),
        Provider(
            "vllm", "http://localhost:8000/v1", needs_key=False, thinking_tag="think", embeddings=_COMPATIBLE_EMBEDDINGS
        ),
        Provider(
            "lmstudio",
            "http://localhost:1234/v1",
            needs_key=False,
            thinking_tag="think",
            embeddings=_COMPATIBLE_EMBEDDINGS,
        ),
        Provider(
            "llamacpp",
            "http://localhost:8080/v1",
            needs_key=False,
            thinking_tag="think",
            embeddings=_COMPATIBLE_EMBEDDINGS,
        ),
    )
}


def refused_fields(provider: Provider, model: str) -> frozenset[str]:
    """The fields that a request to this model leaves out."""
    for rule in provider.model_rules:
        if rule.pattern.match(model):
            return provider.refused_fields | rule.refused
    return provider.refused_fields


def find_effort_rule(provider: Provider, model: str) -> EffortRule | None:
    """The rule for the efforts of this model; None if it gets them as they are."""
    return next((rule for rule in provider.effort_rules if rule.pattern.match(model)), None)
