"""Token counts of the OpenAI wire, in the dialects of its providers.

Rules:
1. `prompt_tokens` counts all input, `completion_tokens` all output. If one is missing or invalid, there is no usage. A
   count of 0 is invalid if there is an answer: providers that do not count say 0, and a budget would never be spent.
2. Details are parts of these counts. The first place with a count is read, limited to the total; without one it is 0.
3. If the total shows that a completion's count leaves out reasoning (xAI), the reasoning is added.

Places of details: `prompt_tokens_details` and `completion_tokens_details` (OpenAI, Groq, xAI, Fireworks, Mistral;
OpenRouter with `cache_write_tokens`), `prompt_cache_hit_tokens` (DeepSeek), `cached_tokens` (Moonshot, Together),
`num_cached_tokens` (Mistral), `cache_read_input_tokens` and `cache_creation_input_tokens` (servers that put
Anthropic's models on this wire), `reasoning_tokens` (Perplexity).
Sources, read 2026-11: OpenAI's openapi.yaml, CompletionUsage; api-docs.deepseek.com/api/create-chat-completion;
openrouter.ai/docs, "Usage accounting"; console.groq.com/docs/prompt-caching; docs.x.ai, "Prompt caching";
seangalliher/ProbOS#1078 and MiXaiLL76/auto_ai_router#142 (counts of 0).
"""

from __future__ import annotations

from pg_trio.domain.chat import Json, Usage

# A billion tokens in one answer is a mistake. It would overflow the 64-bit sums of the log and the budget.
MAX_TOKEN_COUNT = 1_000_000_000

_OPENAI_FIELDS = frozenset(
    {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"}
)


def read_usage(usage: Json, *, is_empty: bool = False) -> Usage | None:
    """Token counts of an answer, or None if the provider sent no reliable ones.

    Shape: {"prompt_tokens": int, "completion_tokens": int, …}; tokens, never characters. A count that is missing,
    negative, 0, too large, a fraction or a text is unreliable. An estimate then replaces both counts, so that a wrong
    count never lowers the sum of a budget or limit. `is_empty`: the answer has no text, or it is not known yet; then a
    count may be 0.
    """
    try:
        # Only an object comes through this.
        prompt_tokens, completion_tokens = usage["prompt_tokens"], usage["completion_tokens"]
    except (KeyError, TypeError):
        return None
    # `type(…) is`, here and below: a bool is an int to isinstance.
    if type(prompt_tokens) is not int or type(completion_tokens) is not int:
        return None
    if not 0 < prompt_tokens <= MAX_TOKEN_COUNT >= completion_tokens > 0 and not (
        is_empty and 0 <= prompt_tokens <= MAX_TOKEN_COUNT >= completion_tokens >= 0
    ):
        return None
    if len(usage) == 2 + ("total_tokens" in usage):
        # There are no details.
        return Usage(prompt_tokens, completion_tokens)
    return _read_details(usage, prompt_tokens, completion_tokens)


def without_zeros(usage: Usage | None) -> Usage | None:
    """The usage of an answer that has text or calls; None if a count is 0 (rule 1)."""
    return usage if usage is None or (usage.prompt_tokens and usage.completion_tokens) else None


def _read_details(usage: dict[str, Json], prompt_tokens: int, completion_tokens: int) -> Usage:
    given, answered = _object(usage, "prompt_tokens_details"), _object(usage, "completion_tokens_details")
    if usage.keys() == _OPENAI_FIELDS and not any(given.values()) and not any(answered.values()):
        # OpenAI's own usage, where nothing came from a cache and the model did not reason.
        return Usage(prompt_tokens, completion_tokens)
    cached = (
        _count(given, "cached_tokens")
        or _count(usage, "prompt_cache_hit_tokens")
        or _count(usage, "cached_tokens")
        or _count(usage, "num_cached_tokens")
        or _count(usage, "cache_read_input_tokens")
    )
    written = _count(given, "cache_write_tokens") or _count(usage, "cache_creation_input_tokens")
    reasoning = _count(answered, "reasoning_tokens") or _count(usage, "reasoning_tokens")
    if reasoning and usage.get("total_tokens") == prompt_tokens + completion_tokens + reasoning:
        completion_tokens += reasoning
    cached = min(cached, prompt_tokens)
    return Usage(
        prompt_tokens,
        completion_tokens,
        cached_tokens=cached,
        cache_write_tokens=min(written, prompt_tokens - cached),
        reasoning_tokens=min(reasoning, completion_tokens),
    )


def _object(usage: dict[str, Json], name: str) -> dict[str, Json]:
    given = usage.get(name)
    return given if type(given) is dict else {}


def _count(counts: dict[str, Json], name: str) -> int:
    given = counts.get(name)
    return given if type(given) is int and 0 <= given <= MAX_TOKEN_COUNT else 0
