"""The guardrail `pii_filter`: masks personal data in a client's text, or refuses the request.

Rules (those of request_guard.py, and):
1. Types are searched in the contract's order, then the custom patterns. Later ones do not see text that an earlier one
   matched.
2. Scanning masked text again for the same type finds nothing more.
"""

from __future__ import annotations

from attrs import frozen

from pg_trio.domain.guardrails import PiiFilter
from pg_trio.errors import PiiBlocked
from pg_trio.stages.guardrails.byte_finder import ByteFinder
from pg_trio.stages.guardrails.detection import Match, mask_matches
from pg_trio.stages.guardrails.detectors import pii_finder
from pg_trio.stages.guardrails.pii_masks import Guarded
from pg_trio.stages.guardrails.request_guard import RequestGuard, Verdicts


def refuse_pii(match: Match) -> PiiBlocked:
    """The error for this match."""
    return PiiBlocked(match.label, rule=match.rule)


@frozen(slots=True, eq=False)
class PiiScanner:
    """A `pii_filter` rule for requests, compiled."""

    finder: ByteFinder
    _guard: RequestGuard

    @classmethod
    def compile(cls, rule: PiiFilter) -> PiiScanner:
        """Compile the rule. Raises: ValueError for a custom pattern or a type that cannot be used, with its name."""
        finder = pii_finder(rule.types, rule.custom_patterns)
        return cls(
            finder, RequestGuard("pii_filter", rule.mode == "block", finder, refuse_pii, bool(rule.custom_patterns))
        )

    def apply(self, request: Guarded) -> Guarded:
        """The request with every match masked: see RequestGuard."""
        return self.guard(request)[0]

    def guard(self, request: Guarded) -> tuple[Guarded, Verdicts]:
        """The same, with what was masked."""
        plain = request.plain_text
        # The common case: one piece without a match.
        if (self.finder.is_clean(plain)) if plain is not None else not self.finder.detectors:
            return request, ()
        return self._guard.apply(request)

    def mask(self, text: str) -> str:
        """The text with every match as `[<label> REDACTED]`; the same object if there was none."""
        matches = self.finder.find(text)
        return mask_matches(text, matches) if matches else text
