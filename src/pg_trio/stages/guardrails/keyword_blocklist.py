"""The guardrail `keyword_blocklist`: configured words, as case-insensitive substrings."""

from __future__ import annotations

from attrs import frozen

from pg_trio.domain.guardrails import KeywordBlocklist
from pg_trio.errors import KeywordBlocked
from pg_trio.stages.guardrails.linear import Pattern, compile_pattern

# With this many words one scan for all is cheaper than one for each (a word costs 0.4 µs a kilobyte, the scan 1 µs).
SCAN_WORDS = 8
# 64 MiB: RE2's limit for the automaton of all words; about 20,000 words. More words are searched one by one.
SCAN_MEMORY_BYTES = 64 * 1024 * 1024


@frozen(slots=True, eq=False)
class KeywordScanner:
    """A `keyword_blocklist` rule, compiled. `_words`: (compared form, configured form), in the configured order."""

    _words: tuple[tuple[str, str], ...]
    _any_word: Pattern | None

    @classmethod
    def compile(cls, rule: KeywordBlocklist) -> KeywordScanner:
        """Compile the rule. Empty words are left out, because every text contains them."""
        words = tuple((word.casefold(), word) for word in rule.words if word)
        return cls(words=words, any_word=_one_scan([folded for folded, _ in words]))

    def check(self, text: str) -> None:
        """Return if the text has none of the words. Raises: KeywordBlocked with the first word in the configured
        order."""
        folded_text = text.casefold()
        if self._any_word is not None and self._any_word.search(folded_text.encode()) is None:
            return
        for folded, word in self._words:
            if folded in folded_text:
                raise KeywordBlocked(word, rule=word)


def _one_scan(words: list[str]) -> Pattern | None:
    if len(words) < SCAN_WORDS:
        return None
    try:
        return compile_pattern("|".join(_quote(word) for word in words), max_mem_bytes=SCAN_MEMORY_BYTES)
    except ValueError:
        return None


def _quote(word: str) -> str:
    # Code points, because a word may contain RE2's special characters, line breaks and \E included.
    return "".join(f"\\x{{{ord(character):X}}}" for character in word)
