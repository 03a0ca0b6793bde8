"""Guardrail tables of three levels -> the rules in force; and the checks of each table."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import attrs
import re2

from pg_trio.config.guardrail_tables import (
    ContentLengthTable,
    CustomPatternTable,
    GuardrailTables,
    KeywordBlocklistTable,
    OutputContentLengthTable,
    OutputGuardrailTables,
    OutputKeywordBlocklistTable,
    OutputPiiFilterTable,
    OutputSecretScannerTable,
    PiiFilterTable,
    PromptInjectionTable,
    ReversibleRedactionTable,
    SecretScannerTable,
)
from pg_trio.config.mistakes import Mistakes, Path
from pg_trio.config.remote_rules import RemoteRuleReader
from pg_trio.domain.guardrails import (
    MAX_CUSTOM_LABELS,
    ContentLength,
    CustomPattern,
    GuardrailRules,
    KeywordBlocklist,
    OutputRules,
    PiiFilter,
    PromptInjection,
    PromptLeak,
    ReversibleRedaction,
    SecretScanner,
)

# Of all lists together: some 180 MB of each worker's memory, and a minute of a core at its start.
MAX_KEYWORDS = 200_000


def narrow_rules(
    wider: GuardrailRules, tables: GuardrailTables | None, path: Path, reader: RemoteRuleReader
) -> GuardrailRules:
    """The rules of a level: a guardrail that it names replaces the wider level's whole rule, the others are
    inherited."""
    if tables is None:
        return wider
    mistakes = reader.mistakes
    own: dict[str, Any] = reader.read(tables, path)
    if tables.pii_filter is not None:
        own["pii_filter"] = _pii_filter(tables.pii_filter, (*path, "pii_filter"), mistakes)
    if tables.prompt_injection is not None:
        own["prompt_injection"] = _prompt_injection(tables.prompt_injection)
    if tables.keyword_blocklist is not None:
        own["keyword_blocklist"] = _keyword_blocklist(tables.keyword_blocklist, (*path, "keyword_blocklist"), reader)
    if tables.content_length is not None:
        own["content_length"] = _content_length(tables.content_length, (*path, "content_length"), mistakes)
    if tables.secret_scanner is not None:
        own["secret_scanner"] = _secret_scanner(tables.secret_scanner)
    if tables.reversible_redaction is not None:
        place = (*path, "reversible_redaction")
        own["reversible_redaction"] = _reversible_redaction(tables.reversible_redaction, place, mistakes)
    if tables.output is not None:
        own["output"] = _narrow_output(wider.output, tables.output, (*path, "output"), reader)
    return attrs.evolve(wider, **own) if own else wider


def _narrow_output(
    wider: OutputRules, tables: OutputGuardrailTables, path: Path, reader: RemoteRuleReader
) -> OutputRules:
    mistakes = reader.mistakes
    own: dict[str, Any] = reader.read(tables, path) | _given(tables, "hold_back_chars")
    if tables.secret_scanner is not None:
        own["secret_scanner"] = _secret_scanner(tables.secret_scanner)
    if tables.pii_filter is not None:
        own["pii_filter"] = _pii_filter(tables.pii_filter, (*path, "pii_filter"), mistakes)
    if tables.keyword_blocklist is not None:
        own["keyword_blocklist"] = _keyword_blocklist(tables.keyword_blocklist, (*path, "keyword_blocklist"), reader)
    if tables.content_length is not None:
        own["content_length"] = _content_length(tables.content_length, (*path, "content_length"), mistakes)
    if tables.prompt_leak is not None:
        own["prompt_leak"] = PromptLeak(**_given(tables.prompt_leak, "enabled", "mode", "min_words"))
    return attrs.evolve(wider, **own)


def _reversible_redaction(table: ReversibleRedactionTable, path: Path, mistakes: Mistakes) -> ReversibleRedaction:
    rule = _pii_filter(table, path, mistakes)
    return ReversibleRedaction(rule.enabled, rule.types, rule.custom_patterns)


def _pii_filter(
    table: PiiFilterTable | OutputPiiFilterTable | ReversibleRedactionTable, path: Path, mistakes: Mistakes
) -> PiiFilter:
    patterns: list[CustomPattern] = []
    for index, item in enumerate(table.custom_patterns or ()):
        pattern = _custom_pattern(item, (*path, "custom_patterns", index, "pattern"), mistakes)
        if pattern is not None:
            patterns.append(pattern)
    if len({pattern.label for pattern in patterns}) > MAX_CUSTOM_LABELS:
        mistakes.add((*path, "custom_patterns"), f"more than {MAX_CUSTOM_LABELS} labels")
    types = None if table.types is None else tuple(name for name in table.types if name is not None)
    return PiiFilter(types=types, custom_patterns=tuple(patterns), **_given(table, "enabled", "mode"))


def _custom_pattern(table: CustomPatternTable | None, path: Path, mistakes: Mistakes) -> CustomPattern | None:
    if table is None or table.pattern is None:
        return None
    wrong = find_pattern_mistake(table.pattern)
    if wrong is not None:
        mistakes.add(path, wrong)
    if wrong is not None or table.label is None:
        return None
    return CustomPattern(table.label, table.pattern)


@lru_cache(maxsize=4096)
def find_pattern_mistake(pattern: str) -> str | None:
    """The mistake in a custom pattern, or None. RE2's syntax: linear time, no look-around, no back-references."""
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0] if error.args else "cannot be compiled"
        return f"not a pattern in RE2 syntax: {said.decode('utf-8', 'replace') if isinstance(said, bytes) else said}"
    if compiled.search("") is not None:
        return "the pattern matches empty text, so it would match everywhere"
    return None


def _prompt_injection(table: PromptInjectionTable) -> PromptInjection:
    allow = tuple(rule_id for rule_id in table.allow or () if rule_id is not None)
    return PromptInjection(allow=allow, **_given(table, "enabled", "mode", "score_threshold", "scan_tool_results"))


def _secret_scanner(table: SecretScannerTable | OutputSecretScannerTable) -> SecretScanner:
    types = None if table.types is None else tuple(name for name in table.types if name is not None)
    return SecretScanner(types=types, **_given(table, "enabled", "mode"))


def _keyword_blocklist(
    table: KeywordBlocklistTable | OutputKeywordBlocklistTable, path: Path, reader: RemoteRuleReader
) -> KeywordBlocklist:
    words = tuple(word for word in table.words or () if word is not None)
    if words not in reader.keyword_lists:
        so_far = next(reversed(reader.keyword_lists.values()), 0)
        reader.keyword_lists[words] = so_far + len(words)
        if so_far <= MAX_KEYWORDS < so_far + len(words):
            reader.mistakes.add((*path, "words"), f"more than {MAX_KEYWORDS} words in all different lists together")
    return KeywordBlocklist(words=words, **_given(table, "enabled", "mode", "match"))


def _content_length(
    table: ContentLengthTable | OutputContentLengthTable, path: Path, mistakes: Mistakes
) -> ContentLength:
    if table.min is not None and table.max is not None and table.min > table.max:
        mistakes.add((*path, "min"), f"{table.min} is above max ({table.max})")
    return ContentLength(**_given(table, "enabled", "mode", "min", "max"))


def _given(table: object, *names: str) -> dict[str, Any]:
    """The named settings that the file has; the rule's own defaults hold for the rest."""
    return {name: given for name in names if (given := getattr(table, name, None)) is not None}
