"""The guardrail `keyword_blocklist`: configured words, as case-insensitive substrings."""

from __future__ import annotations

from attrs import frozen

from pg_trio.domain.guardrails import KeywordBlocklist
from pg_trio.errors import KeywordBlocked
from pg_trio.stages.guardrails.linear import Pattern, compile_pattern

# From here on one scan for all words is cheaper than one for each (a word costs 0.4 µs a kilobyte, the scan 1 µs).
SCAN_WORDS = 8
# 64 MiB: what RE2 may use for the automaton of all words; about 20,000 words. More words are looked for one by one.
SCAN_MEMORY_BYTES = 64 * 1024 * 1024


@frozen(slots=True, eq=False)
class KeywordScanner:
    """A `keyword_blocklist` rule, compiled. `_words`: as compared and as configured, in the configured order."""

    _words: tuple[tuple[str, str], ...]
    _any_word: Pattern | None

    @classmethod
    def compile(cls, rule: KeywordBlocklist) -> KeywordScanner:
        """Ready to check. Empty words are left out: they would be found in everything."""
        words = tuple((word.casefold(), word) for word in rule.words if word)
        return cls(words=words, any_word=_one_scan([folded for folded, _ in words]))

    def check(self, text: str) -> None:
        """Nothing, for text without any of the words. Raises: KeywordBlocked naming the first word in their order."""
        folded_text = text.casefold()
        if self._any_word is not None and self._any_word.search(folded_text.encode()) is None:
            return
        for folded, word in self._words:
            if folded in folded_text:
                raise KeywordBlocked(word)


def _one_scan(words: list[str]) -> Pattern | None:
    if len(words) < SCAN_WORDS:
        return None
    try:
        return compile_pattern("|".join(_quote(word) for word in words), max_mem_bytes=SCAN_MEMORY_BYTES)
    except ValueError:
        return None


def _quote(word: str) -> str:
    # Code points, since a word may hold what RE2 has a meaning for, line breaks and \E included.
    return "".join(f"\\x{{{ord(character):X}}}" for character in word)
