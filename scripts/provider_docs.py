"""The tables of docs/providers.md, made from what the code does: its table of providers, and its adapters asked.

usage: scripts/provider-docs [--check]     --check changes nothing and fails where the file is not up to date
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from pg_trio.domain.chat import Message, Prompt
from pg_trio.domain.content import Audio, File, Image, Part, Text
from pg_trio.domain.model_rules import EFFORTS, EffortRule
from pg_trio.domain.options import Options, ResponseFormat
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.provider import PROVIDERS, Provider
from pg_trio.domain.tools import ForeignTool, Tool, ToolCall, ToolChoice
from pg_trio.providers import adapter_for

FILE = Path(__file__).parents[1] / "docs" / "providers.md"
# A model of each wire: what another takes is in the notes below the table.
MODELS = {
    # A name that no rule knows: what models refuse is in the other two tables.
    "openai": "any",
    "anthropic": "claude-sonnet-4-5",
    "google": "gemini-2.5-flash",
    "cohere": "command-a-reasoning-08-2025",
}
# Every field of a provider's row: one that is new is told in `_provider_table`, then named here.
TOLD = frozenset(
    {
        *("name", "base_url", "wire", "needs_key", "key_header", "key_prefix", "output_limit_field", "refused_fields"),
        *(
            "model_rules",
            "effort_rules",
            "returns_signatures",
            "returns_reasoning",
            "names_every_role",
            "nine_character_call_ids",
            "call_id_chars",
            "asks_for_stream_usage",
        ),
        *("marks_partial_answer", "thinking_tag", "embeddings"),
    }
)
DATA = "aGVsbG8="
SCHEMA = {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}
WEATHER = Tool("get_weather", None, SCHEMA)
HI = Prompt((Message("user", "Hi"),))
ROUND = (
    *HI.messages,
    Message("assistant", None, tool_calls=(ToolCall("call_1", "get_weather", "{}"),)),
    Message("tool", "7", tool_call_id="call_1"),
)


def _said(*parts: Part) -> Prompt:
    return Prompt((Message("user", (Text("Hi"), *parts)),))


def _asked(**options: Any) -> Prompt:
    return Prompt(HI.messages, Options(**options))


def _shaped(shape: dict[str, Any]) -> Prompt:
    return _asked(response_format=ResponseFormat.of(shape))


# What a request may hold, with a prompt that does, and one that lacks only that.
FEATURES: Mapping[str, tuple[Prompt, Prompt]] = {
    "system messages": (Prompt((Message("system", "Be brief."), *HI.messages)), HI),
    "a speaker's name": (Prompt((Message("user", "Hi", "ada"),)), HI),
    "image, base64": (_said(Image(f"data:image/png;base64,{DATA}")), _said()),
    "image, https address": (_said(Image("https://example.org/a.png")), _said()),
    "audio": (_said(Audio(DATA, "wav")), _said()),
    "PDF": (_said(File(data=f"data:application/pdf;base64,{DATA}", name="a.pdf")), _said()),
    "uploaded file (`file_id`)": (_said(File(id="file-1")), _said()),
    "`tools`": (Prompt(HI.messages, tools=(WEATHER,)), HI),
    "tool results": (Prompt(ROUND, tools=(WEATHER,)), Prompt(HI.messages, tools=(WEATHER,))),
    "tools that are not functions": (Prompt(HI.messages, tools=(ForeignTool({"type": "custom"}),)), HI),
    "`tool_choice`: `required`, `none`": (
        Prompt(HI.messages, tools=(WEATHER,), tool_choice=ToolChoice("required")),
        Prompt(HI.messages, tools=(WEATHER,)),
    ),
    "`tool_choice`: one function": (
        Prompt(HI.messages, tools=(WEATHER,), tool_choice=ToolChoice("function", "get_weather")),
        Prompt(HI.messages, tools=(WEATHER,)),
    ),
    "`parallel_tool_calls: false`": (
        Prompt(HI.messages, Options(parallel_tool_calls=False), (WEATHER,)),
        Prompt(HI.messages, tools=(WEATHER,)),
    ),
    "`response_format`: `json_object`": (_shaped({"type": "json_object"}), HI),
    "`response_format`: `json_schema`": (
        _shaped({"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}),
        HI,
    ),
    "`response_format`: another": (_shaped({"type": "grammar", "grammar": "x"}), HI),
    "`reasoning_effort`": (_asked(reasoning_effort="high"), HI),
    "`temperature`": (_asked(temperature=0.5), HI),
    "`top_p`": (_asked(top_p=0.5), HI),
    "`max_tokens`": (_asked(max_output_tokens=77), HI),
    "`stop`": (_asked(stop=("END",)), HI),
    "`seed`": (_asked(seed=7), HI),
    "`presence_penalty`, `frequency_penalty`": (_asked(presence_penalty=0.5, frequency_penalty=0.5), HI),
    "`user`": (_asked(user="ada"), HI),
    "`logprobs`": (_asked(more={"logprobs": True}), HI),
    "`logit_bias`, `n` and other fields of OpenAI's": (_asked(more={"logit_bias": {"1": 1}}), HI),
}


def make_tables() -> dict[str, str]:
    """Each table's Markdown, by its name in the file's markers."""
    return {"providers": _provider_table(), "efforts": _effort_table(), "features": _feature_table()}


def fill(text: str) -> str:
    """The file's text with its tables made anew: what stands between `<!-- NAME: … -->` and `<!-- end -->`."""
    for name, table in make_tables().items():
        pattern = rf"(<!-- {name}: [^>]*-->\n).*?(<!-- end -->)"
        text = re.sub(pattern, lambda found, table=table: f"{found[1]}{table}\n{found[2]}", text, flags=re.DOTALL)  # type: ignore[misc]
    return text


def _provider_table() -> str:
    lines = ["| `provider` | base URL | wire | key | embeddings | how it deviates |", "|---|---|---|---|---|---|"]
    lines += [
        f"| `{provider.name}` | {_address(provider)} | {provider.wire} | {_key(provider)} | {_embeddings(provider)}"
        f" | {_deviations(provider)} |"
        for provider in PROVIDERS.values()
    ]
    return "\n".join(lines)


def _address(provider: Provider) -> str:
    if provider.name == "ollama":
        return f"`$OLLAMA_BASE_URL`, else `{provider.base_url}`"
    return "`base_url` is required" if provider.base_url is None else f"`{provider.base_url}`"


def _key(provider: Provider) -> str:
    header = f"`{provider.key_header}: {provider.key_prefix}KEY`"
    return header if provider.needs_key else f"optional, {header}"


def _embeddings(provider: Provider) -> str:
    row = provider.embeddings
    if row is None:
        return "–"
    said = [f"{row.most_inputs} inputs"]
    said += ["texts or tokens"] if row.takes_tokens else ["texts"]
    said += [] if row.dimensions_field is None else [f"`{row.dimensions_field}`"]
    return ", ".join(said)


def _deviations(provider: Provider) -> str:
    said = []
    if provider.wire == "openai" and provider.output_limit_field != "max_tokens":
        said.append(f"limit as `{provider.output_limit_field}`")
    if provider.refused_fields:
        said.append(f"left out: {_names(provider.refused_fields)}")
    said += [
        f"left out for models like `{_readable(rule.pattern)}`: {_names(rule.refused)}" for rule in provider.model_rules
    ]
    if provider.effort_rules:
        said.append("efforts by model ([below](#efforts-by-model))")
    if provider.returns_signatures:
        said.append("signatures of Gemini's calls go back in `extra_content`")
    if provider.returns_reasoning is not None:
        said.append(
            f"reasoning goes back as `reasoning_content` to models like `{_readable(provider.returns_reasoning)}`"
        )
    if provider.nine_character_call_ids:
        said.append("ids of calls are mapped to nine letters and digits")
    if provider.call_id_chars is not None:
        said.append(f"ids of calls over {provider.call_id_chars} characters are mapped")
    if not provider.names_every_role:
        said.append("names of speakers only in tool messages")
    if provider.wire == "openai" and not provider.asks_for_stream_usage:
        said.append("no `stream_options`")
    if provider.marks_partial_answer:
        said.append("`prefix` marks an answer that is to go on")
    if provider.thinking_tag is not None:
        said.append(f"`<{provider.thinking_tag}>` at the beginning of a text is reasoning")
    return "; ".join(said)


def _names(fields: frozenset[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(fields))


def _readable(pattern: re.Pattern[str]) -> str:
    # A bar would end the table's cell.
    return pattern.pattern.replace("|", "\\|")


def _effort_table() -> str:
    """What each effort becomes. Providers with the same rules share their rows."""
    lines = [
        f"| `provider` | models like | {' | '.join(f'`{effort}`' for effort in EFFORTS)} |",
        f"|---|---|{'---|' * len(EFFORTS)}",
    ]
    groups: dict[tuple[EffortRule, ...], list[str]] = {}
    for provider in PROVIDERS.values():
        if provider.effort_rules:
            groups.setdefault(provider.effort_rules, []).append(f"`{provider.name}`")
    for rules, names in groups.items():
        for rule in rules:
            cells = [_word(rule, effort) for effort in EFFORTS]
            lines.append(f"| {', '.join(names)} | `{_readable(rule.pattern)}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _word(rule: EffortRule, effort: str) -> str:
    if effort == "none" and rule.turns_off:
        return "off"
    return rule.word_for(effort) or "–"


def _feature_table() -> str:
    lines = [f"| a request with | {' | '.join(MODELS)} |", f"|---|{'---|' * len(MODELS)}"]
    for feature, (with_it, without) in FEATURES.items():
        cells = [_treatment(wire, with_it, without) for wire in MODELS]
        lines.append(f"| {feature} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _treatment(wire: str, with_it: Prompt, without: Prompt) -> str:
    candidate = Candidate(Credential("docs", wire, "https://example.org"), MODELS[wire])
    adapter = adapter_for(wire)
    if adapter.why_unfit(with_it, candidate) is not None:
        return "passed over"
    sent, base = [orjson.loads(adapter.build_request(prompt, candidate).body) for prompt in (with_it, without)]
    return "left out" if sent == base else "sent"


def main() -> int:
    """Write the file anew, or check it."""
    parser = argparse.ArgumentParser(prog="scripts/provider-docs", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail where the file is not up to date")
    text = FILE.read_text(encoding="utf-8")
    made = fill(text)
    if parser.parse_args().check:
        return int(made != text)
    FILE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
