"""What single models of OpenAI's wire refuse, and which words of `reasoning_effort` they accept. Data only.

Rules:
1. Patterns match a model's name from its beginning. Of each kind of rule, the first that matches applies.
2. A field that a model refuses with a 400 is left out if the answer is useful without it.
3. An effort that a model does not know becomes the nearest word that it knows. `none` is the exception: only `none`
   becomes `none`, because a client that asks for little thinking does not ask for none.
4. A model without a rule gets the word as it is. A deployment may have any name (Azure), and new models come.

Sources, read 2026-11-29: OpenAI, model pages and API reference ("stop": "Not supported with latest reasoning models o3
and o4-mini"); langchain-ai/langchain#29704 (`parallel_tool_calls`); huggingface/smolagents#1671 (`stop`, gpt-5);
davidmigloz/langchain_dart#712 (`reasoning_effort`, gpt-4o); NousResearch/hermes-agent#23435 (xAI, tried model by
model); anomalyco/models.dev#1986 (Mistral, tried model by model); the efforts of each model in the records of
anomalyco/models.dev (2026-07-02) and the package `litellm` 1.110.2 (OpenAI, Mistral, Groq, DeepSeek, Cerebras).
"""

from __future__ import annotations

import re

from attrs import frozen

SAMPLING = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty"})
# From the least to the most.
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


@frozen(slots=True)
class ModelRule:
    """What models whose name matches `pattern` (from its beginning) refuse: `refused` fields are left out."""

    pattern: re.Pattern[str]
    refused: frozenset[str]


@frozen(slots=True)
class EffortRule:
    """The words of `reasoning_effort` that models whose name matches `pattern` accept; without any, the field is left
    out. `turns_off`: they have a switch, `{"thinking": {"type": "disabled"}}`, in place of the word `none`."""

    pattern: re.Pattern[str]
    words: tuple[str, ...] = ()
    turns_off: bool = False

    def word_for(self, effort: str) -> str | None:
        """The nearest word that the model knows; None if there is none."""
        if effort in self.words:
            return effort
        if "default" in self.words:
            return "none" if effort == "none" and "none" in self.words else "default"
        known = [word for word in EFFORTS if word in self.words and (word != "none" or effort == "none")]
        if effort not in EFFORTS or not known:
            return None
        place = EFFORTS.index(effort)
        # Of two equally near words, the one with more effort.
        return min(known, key=lambda word: (abs(EFFORTS.index(word) - place), -EFFORTS.index(word)))


def _rule(pattern: str, *refused: str) -> ModelRule:
    return ModelRule(re.compile(pattern), frozenset(refused))


def _efforts(pattern: str, words: str = "", *, turns_off: bool = False) -> EffortRule:
    return EffortRule(re.compile(pattern), tuple(words.split()), turns_off)


_OPENAI = r"(?:openai[/.])?"

OPENAI_MODELS = (
    _rule(_OPENAI + r"o(?:3(?!-mini)|[4-9])", *SAMPLING, "stop", "parallel_tool_calls"),
    _rule(_OPENAI + r"o\d", *SAMPLING, "parallel_tool_calls"),
    _rule(_OPENAI + r"gpt-5(?![.\d])(?!.*chat)", *SAMPLING, "stop"),
    _rule(_OPENAI + r"gpt-(?:[5-9]|\d\d)(?!.*chat)", *SAMPLING),
    _rule(_OPENAI + r"gpt-4o(?:-mini)?-search", *SAMPLING),
)
OPENAI_EFFORTS = (
    # Models that do not reason, and those that have one effort alone.
    _efforts(_OPENAI + r"(?:gpt-(?:3|4)|chatgpt|gpt-\d+(?:\.\d+)?-(?:chat|search)|chat-latest)"),
    _efforts(_OPENAI + r"o\d", "low medium high"),
    _efforts(_OPENAI + r"gpt-5-pro", "high"),
    _efforts(_OPENAI + r"gpt-5\.\d+-pro", "medium high xhigh"),
    _efforts(_OPENAI + r"gpt-5(?:\.1)?-codex(?!-max)", "low medium high"),
    _efforts(_OPENAI + r"gpt-5\.(?:1-codex-max|2-codex)", "low medium high xhigh"),
    _efforts(_OPENAI + r"gpt-5(?![.\d])", "minimal low medium high"),
    _efforts(_OPENAI + r"gpt-5\.1(?!\d)", "none low medium high"),
    _efforts(_OPENAI + r"gpt-5\.", "none low medium high xhigh"),
    _efforts(_OPENAI + r"gpt-6(?:-astra|\.1-sol)", "low medium high xhigh max"),
    _efforts(_OPENAI + r"gpt-6", "none low medium high xhigh max"),
    _efforts(_OPENAI + r"gpt-oss", "low medium high"),
)
MISTRAL_EFFORTS = (
    _efforts(r"(?:zai-)?glm-5-2", "none minimal low medium high xhigh max"),
    _efforts(r"(?:zai-)?glm", "low high max"),
    _efforts(r"mistral-(?:small-(?:latest|26)|medium|large-4)|magistral-small|devstral(?:-\w+)?-latest", "none high"),
    _efforts(r"mistral-|magistral|ministral|codestral|devstral|pixtral|voxtral|open-"),
)
GROQ_EFFORTS = (
    _efforts(r"openai/gpt-oss", "low medium high"),
    _efforts(r"qwen/", "none default"),
    _efforts(r"llama|meta-llama/|gemma|groq/|moonshotai/|allam"),
)
# presencePenalty, frequencyPenalty and stop are errors for reasoning models.
XAI_MODELS = (_rule(r"grok-(?:3-mini|[4-9]|code|build)", "presence_penalty", "frequency_penalty", "stop"),)
XAI_EFFORTS = (
    _efforts(r"grok-3-mini", "low high"),
    _efforts(r"grok-4\.20-multi-agent", "low medium high xhigh"),
    _efforts(r"grok-4\.20|grok-4-(?:1-)?fast|grok-4-0709|grok-3|grok-2|grok-code|grok-build"),
    _efforts(r"grok-4\.3|grok-4(?:-latest)?$", "none low medium high"),
    _efforts(r"grok-[4-9]", "low medium high"),
)
# These have no effect there (and are errors at some resellers).
DEEPSEEK_MODELS = (_rule(r"deepseek-reasoner", *SAMPLING),)
DEEPSEEK_THINKING = re.compile(r"deepseek-(?:v[4-9]|flash|pro)")
DEEPSEEK_EFFORTS = (EffortRule(DEEPSEEK_THINKING, ("high", "max"), turns_off=True),)
CEREBRAS_EFFORTS = (_efforts(r"gpt-oss", "low medium high"), _efforts(r"zai-glm", "none"), _efforts(r"llama"))
