"""The stage `guardrails`: the rules for requests, each on the text as the earlier ones left it.

The order: `secret_scanner` (first, so that no other rule masks a part of a secret and hides the rest),
`reversible_redaction`, `pii_filter`, `prompt_injection`, `keyword_blocklist`, `content_length`. Guardrails that another
service decides come after these; the pipeline asks them, because they wait.
"""

from __future__ import annotations

from functools import lru_cache

from attrs import evolve, field, frozen

from pg_trio.domain.chat import ChatRequest
from pg_trio.domain.client_request import ClientRequest
from pg_trio.domain.guardrails import ContentLength, GuardrailRules, KeywordBlocklist, PiiFilter, SecretScanner
from pg_trio.errors import KeywordBlocked, SecretBlocked
from pg_trio.stages.guardrails.byte_finder import ByteFinder
from pg_trio.stages.guardrails.content_length import check_length
from pg_trio.stages.guardrails.detection import Match
from pg_trio.stages.guardrails.keyword_blocklist import KeywordScanner
from pg_trio.stages.guardrails.keyword_finder import KeywordFinder, keyword_finder
from pg_trio.stages.guardrails.normal_text import Forms
from pg_trio.stages.guardrails.pii import PiiScanner
from pg_trio.stages.guardrails.pii_masks import Guarded
from pg_trio.stages.guardrails.prompt_injection import InjectionScanner
from pg_trio.stages.guardrails.quick_look import QuickLook
from pg_trio.stages.guardrails.redaction import Redaction, Redactor, compile_redactor
from pg_trio.stages.guardrails.request_guard import RequestGuard, Verdicts
from pg_trio.stages.guardrails.secret_scanner import secret_finder


@frozen(slots=True, eq=False)
class Chain:
    """The compiled guardrails of an endpoint; None for those not in force."""

    _secrets: RequestGuard | None
    _redactor: Redactor | None
    _pii: PiiScanner | None
    _injection: InjectionScanner | None
    _keywords: KeywordScanner | RequestGuard | None
    _length: ContentLength | None
    # Whether `prompt_injection` reads the results of tools.
    _scans_results: bool = True
    # The first look at a request that is one text; None where there is none.
    _quick_look: QuickLook | None = field(init=False)

    @_quick_look.default
    def _make_quick_look(self) -> QuickLook | None:
        keywords = None if self._keywords is None else self._keywords.finder
        guards = [guard for guard in (self._secrets, self._pii) if guard is not None]
        finders = [guard.finder for guard in guards if isinstance(guard.finder, ByteFinder)]
        if self._redactor is not None or len(finders) < len(guards) or not isinstance(keywords, KeywordFinder | None):
            return None
        injection = None if self._injection is None else self._injection.finder
        return QuickLook.of(finders, injection, keywords, self._length)

    @property
    def is_in_force(self) -> bool:
        """Whether there is any guardrail in it."""
        rules = (self._secrets, self._redactor, self._pii, self._injection, self._keywords, self._length)
        return any(each is not None for each in rules)

    def apply(self, request: Guarded) -> Guarded:
        """The request as `check` leaves it."""
        return self.check(request)[0]

    def check(self, request: Guarded) -> tuple[Guarded, Verdicts, Redaction | None]:
        """The request with what was masked in its messages or inputs, the same object if nothing was; the verdicts; and
        what is to be put back into the answer.

        `body` stays as it was sent, for `input_schema`. It must not be stored or logged.

        Raises: GuardrailBlocked.
        """
        plain = request.plain_text
        if plain is not None and self._quick_look is not None and self._quick_look.is_clean(plain):
            return request, (), None
        verdicts: Verdicts = ()
        redaction = None
        if self._secrets is not None:
            request, verdicts = self._secrets.apply(request)
        if self._redactor is not None:
            request, more, redaction = self._redactor.redact(request)
            verdicts += more
        if self._pii is not None:
            request, more = self._pii.guard(request)
            verdicts += more
        if self._injection is None and self._keywords is None and self._length is None:
            return request, verdicts, redaction
        text = request.text()
        forms: Forms = {}
        if self._injection is not None:
            self._injection.check(text if self._scans_results else _without_results(request, text), forms)
        if isinstance(self._keywords, RequestGuard):
            request, more = self._keywords.apply(request)
            if more:
                verdicts += more
                text = request.text()
        elif self._keywords is not None:
            self._keywords.check(text, forms)
        if self._length is not None:
            check_length(self._length, len(text))
        return request, verdicts, redaction


# 1,024: more distinct rules than any configuration seen; endpoints with equal rules share one chain.
@lru_cache(maxsize=1024)
def compile_chain(rules: GuardrailRules) -> Chain:
    """The compiled rules. Raises: ValueError for a rule that cannot be used, with the rule and the field."""
    secrets, redaction, pii = rules.secret_scanner, rules.reversible_redaction, rules.pii_filter
    injection, keywords, length = rules.prompt_injection, rules.keyword_blocklist, rules.content_length
    return Chain(
        secrets=_compile_secrets(secrets) if secrets is not None and secrets.enabled else None,
        redactor=compile_redactor(redaction) if redaction is not None and redaction.enabled else None,
        pii=_compile_pii(pii) if pii is not None and pii.enabled else None,
        injection=InjectionScanner(injection) if injection is not None and injection.enabled else None,
        keywords=_compile_keywords(keywords) if keywords is not None and keywords.enabled else None,
        length=length if length is not None and length.enabled else None,
        scans_results=injection is None or injection.scan_tool_results,
    )


def _without_results(request: ClientRequest, text: str) -> str:
    """The request's text without the results of tools."""
    if not isinstance(request, ChatRequest) or not any(message.role == "tool" for message in request.messages):
        return text
    return evolve(request, messages=tuple([one for one in request.messages if one.role != "tool"])).text()


def _compile_secrets(rule: SecretScanner) -> RequestGuard:
    return RequestGuard("secret_scanner", rule.mode == "block", secret_finder(rule.types), _refuse_secret, True)


def _refuse_secret(match: Match) -> SecretBlocked:
    return SecretBlocked(match.label, rule=match.rule)


def _compile_keywords(rule: KeywordBlocklist) -> KeywordScanner | RequestGuard:
    if rule.mode == "block":
        return KeywordScanner.compile(rule)
    finder = keyword_finder(rule.words, rule.match)
    return RequestGuard("keyword_blocklist", False, finder, _refuse_word, True)


def _refuse_word(match: Match) -> KeywordBlocked:
    return KeywordBlocked(match.rule, rule=match.rule)


def _compile_pii(rule: PiiFilter) -> PiiScanner:
    try:
        return PiiScanner.compile(rule)
    except ValueError as error:
        raise ValueError(f"pii_filter.{error}") from None
