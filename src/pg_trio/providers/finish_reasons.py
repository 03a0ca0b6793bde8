"""Translates any provider's finish reason to the contract's five.

Rules:
1. Words are read by their meaning, in any case and spelling: `MAX_TOKENS`, `maxTokens` and `max-tokens` are one.
2. The strongest word decides: a filter, then a limit, then a failure, then a tool call, then a natural end. So
   `stop_max_tokens` is a limit, `ERROR_TOXIC` a filter, and `tool_call_error` a failure. A limit of calls or of a quota
   is a failure, because it is not the answer's length limit.
3. A failure means that the answer is not whole; `read_finish` returns `error` for it.
4. A word for an unfinished answer (`null`, `not_finished`, `FINISH_REASON_UNSPECIFIED`) counts as none.
5. An unknown word is `stop`: the provider ended the answer, without a sign of a cut or a failure. A cut answer has no
   reason, so it never looks whole by this rule.

Sources, read 2026-11: the API references of OpenAI, Anthropic, Google (FinishReason), Cohere (v1 and v2), Mistral,
Groq, Together, DeepSeek (`insufficient_system_resource`), z.ai (`sensitive`, `network_error`), watsonx (`not_finished`,
`cancelled`), Bedrock (`guardrail_intervened`); TGI (`eos_token`), vLLM and SGLang (`abort`), llama.cpp (`stop_type`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, TypeAlias

from pg_trio.domain.chat import FinishReason, Json

Meaning: TypeAlias = FinishReason | Literal["none"]

# The longest finish reason that is read; longer texts are not finish reasons.
REASON_CHARS = 256

# Providers have a dozen words each.
WORDS_KEPT = 1024

# Google's enum by number, as some of its proxies write it (google.ai.generativelanguage, FinishReason).
_NUMBERS: dict[int, Meaning] = {0: "none", 1: "stop", 2: "length", 3: "content_filter", 4: "content_filter"}

# Beginnings of words, by their meaning. Stems of three letters or less match whole words only.
_STEMS: tuple[tuple[Meaning, str], ...] = (
    ("none", "null none unspecified unfinished ongoing generating pending"),
    (
        "content_filter",
        "filter safe unsafe sensitiv moderat block blacklist denylist prohibit forbid banned policy policies violat "
        "refus guardrail intervene recitation copyright pii spii toxic harm censor jailbreak nsfw inappropriate "
        "flagged risk illegal armor language offensive disallow",
    ),
    ("error", "rate quota concurren throttl request resource"),
    (
        "length",
        "length max maximum limit exceed truncat overflow budget window context incomplete long many exhaust cutoff "
        "pause partial",
    ),
    (
        "error",
        "err error fail fault abort cancel exception timeout timed overload disconnect interrupt crash unavailable "
        "internal malformed invalid unexpected insufficient network server kill died dead broken lost reset "
        "missing reject deadline",
    ),
    ("tool_calls", "tool function"),
    (
        "stop",
        "stop eos eot eom eog end complet finish done success succe normal natural ok sequence turn final",
    ),
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# `FINISH_REASON_STOP`, `FinishReason.STOP`, `stop_reason: max_tokens`: the name of the field before the value.
_FIELD_NAME = re.compile(r"^\W*(?:finish|stop)[\W_]*reason(?=[\W_]|[A-Z]|$)[\W_]*", re.IGNORECASE)
_NOT_YET = re.compile(
    r"(?:not|still)[\W_]*(?:yet|finish|complete|done|stopped|running|generating)|in[\W_]*progress", re.IGNORECASE
)
_CALLS = frozenset({"call", "calls", "tool", "tools", "function", "functions"})
# Inside joined words (`maxtokens`, `endturn`), stems of this length or more are found too.
_INSIDE_FROM_CHARS = 3


def read_finish(reason: Json) -> Meaning:
    """The meaning of a finish reason; "none" if it is missing or says that there is none yet.

    Shape: a string. Also an object or a list that has it, true, or a number of Google's.
    """
    if type(reason) is str:
        return _FAST.get(reason) or _mean(reason[:REASON_CHARS])
    if type(reason) is bool:
        return "stop" if reason else "none"
    if type(reason) is int:
        return _NUMBERS.get(reason, "stop")
    if type(reason) is dict:
        inner = (reason.get(name) for name in ("reason", "type", "name", "value", "finish_reason"))
        return read_finish(next((text for text in inner if type(text) is str), None))
    if type(reason) is list and reason and type(reason[0]) is str:
        return read_finish(reason[0])
    return "none"


# OpenAI's own words, which nearly every provider uses.
_FAST: dict[str, Meaning] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "function_call": "tool_calls",
}


@lru_cache(maxsize=WORDS_KEPT)
def _mean(reason: str) -> Meaning:
    reason = _FIELD_NAME.sub("", reason)
    words = [word.lower() for word in _WORDS.findall(reason)]
    if not words:
        # `""`: none yet (SGLang, TGI, Ollama until 2024).
        return "stop" if any(map(str.isalnum, reason)) else "none"
    if _NOT_YET.search(reason):
        return "none"
    for meaning, stems in _STEMS:
        if any(_begins(word, stem) for stem in stems.split() for word in words):
            # A limit of calls (Google's TOO_MANY_TOOL_CALLS) is not the answer's length limit.
            return "error" if meaning == "length" and not _CALLS.isdisjoint(words) else meaning
    squeezed = "".join(words)
    for meaning, stems in _STEMS:
        if any(stem in squeezed for stem in stems.split() if len(stem) >= _INSIDE_FROM_CHARS):
            return meaning
    return "stop"


def _begins(word: str, stem: str) -> bool:
    return word == stem or (len(stem) > _INSIDE_FROM_CHARS and word.startswith(stem))
