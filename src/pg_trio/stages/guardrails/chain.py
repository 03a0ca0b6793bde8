"""The stage `guardrails`: the four guardrails in the contract's order, each on the text as the earlier ones left it."""

from __future__ import annotations

from functools import lru_cache

from attrs import frozen

from pg_trio.domain.guardrails import ContentLength, GuardrailRules, PiiFilter
from pg_trio.stages.guardrails.content_length import check_length
from pg_trio.stages.guardrails.keyword_blocklist import KeywordScanner
from pg_trio.stages.guardrails.pii import PiiScanner
from pg_trio.stages.guardrails.pii_masks import Guarded
from pg_trio.stages.guardrails.prompt_injection import InjectionScanner
from pg_trio.stages.guardrails.request_guard import Verdicts


@frozen(slots=True, eq=False)
class Chain:
    """The compiled guardrails of an endpoint; None for those not in force."""

    _pii: PiiScanner | None
    _injection: InjectionScanner | None
    _keywords: KeywordScanner | None
    _length: ContentLength | None

    @property
    def is_in_force(self) -> bool:
        """Whether there is any guardrail in it."""
        return any(each is not None for each in (self._pii, self._injection, self._keywords, self._length))

    def apply(self, request: Guarded) -> Guarded:
        """The request as `check` leaves it."""
        return self.check(request)[0]

    def check(self, request: Guarded) -> tuple[Guarded, Verdicts]:
        """The request with what was masked in its messages or inputs, the same object if nothing was; and the verdicts.

        `body` stays as it was sent, for `input_schema`. It must not be stored or logged.

        Raises: GuardrailBlocked.
        """
        verdicts: Verdicts = ()
        if self._pii is not None:
            request, verdicts = self._pii.guard(request)
        if self._injection is None and self._keywords is None and self._length is None:
            return request, verdicts
        text = request.text()
        if self._injection is not None:
            self._injection.check(text)
        if self._keywords is not None:
            self._keywords.check(text)
        if self._length is not None:
            check_length(self._length, len(text))
        return request, verdicts


# 1,024: more distinct rules than any configuration seen; endpoints with equal rules share one chain.
@lru_cache(maxsize=1024)
def compile_chain(rules: GuardrailRules) -> Chain:
    """The compiled rules. Raises: ValueError for a rule that cannot be used, with the rule and the field."""
    pii, injection = rules.pii_filter, rules.prompt_injection
    keywords, length = rules.keyword_blocklist, rules.content_length
    return Chain(
        pii=_compile_pii(pii) if pii is not None and pii.enabled else None,
        injection=InjectionScanner(injection) if injection is not None and injection.enabled else None,
        keywords=KeywordScanner.compile(keywords) if keywords is not None and keywords.enabled else None,
        length=length if length is not None and length.enabled else None,
    )


def _compile_pii(rule: PiiFilter) -> PiiScanner:
    try:
        return PiiScanner.compile(rule)
    except ValueError as error:
        raise ValueError(f"pii_filter.{error}") from None
