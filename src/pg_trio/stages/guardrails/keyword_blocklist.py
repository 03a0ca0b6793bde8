"""The guardrail `keyword_blocklist`: refuses configured words. `keyword_finder` finds them."""

from __future__ import annotations

from attrs import frozen

from pg_trio.domain.guardrails import KeywordBlocklist
from pg_trio.errors import KeywordBlocked
from pg_trio.stages.guardrails.keyword_finder import KeywordFinder, keyword_finder
from pg_trio.stages.guardrails.normal_text import Forms


@frozen(slots=True, eq=False)
class KeywordScanner:
    """A `keyword_blocklist` rule, compiled."""

    finder: KeywordFinder

    @classmethod
    def compile(cls, rule: KeywordBlocklist) -> KeywordScanner:
        """Compile the rule. Empty words are left out, because every text contains them."""
        return cls(keyword_finder(rule.words, rule.match))

    def check(self, text: str, forms: Forms | None = None) -> None:
        """Return if the text has none of the words. Raises: KeywordBlocked with the first word in the configured
        order."""
        word = self.finder.first_word(text, forms)
        if word is not None:
            raise KeywordBlocked(word, rule=word)
