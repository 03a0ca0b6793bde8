"""The guardrail `prompt_injection`: well-known phrases that try to take a model over.

A list of phrases is a first hurdle, not a proof: who rewords it passes, and docs/guardrails.md says so. Each phrase
names the thing attacked (instructions, rules, system prompt), so that everyday sentences with "ignore" or "forget" in
them pass; tests/unit/stages/test_prompt_injection.py has both lists.
"""

from __future__ import annotations

import unicodedata
from functools import cache

from pg_trio.errors import InjectionBlocked
from pg_trio.stages.guardrails.linear import Pattern, compile_pattern

_S = r"[\s\x{A0}]+"
_EARLIER = r"(?:previous|prior|above|earlier|preceding|existing|initial|original|former)"
_RULES = r"(?:instructions?|directions?|directives?|guidelines?|rules|prompts?|commands?|programming|constraints?)"
_SYSTEM_PROMPT = (
    r"(?:system|initial|hidden|original|secret|internal|developer)[\s-]*"
    r"(?:prompts?|instructions?|message|guidelines)"
)
_QUALIFIER = rf"(?:(?:all|any|every|each|of|the|your|my|our|these|those|this|that|other|{_EARLIER}){_S})"
_UMLAUT_U, _UMLAUT_A = r"(?:ü|ue|u\x{308})", r"(?:ä|ae|a\x{308})"
_GERMAN_EARLIER = (
    rf"(?:vorherig\w*|bisherig\w*|vorangegangen\w*|obig\w*|fr{_UMLAUT_U}her\w*|urspr{_UMLAUT_U}nglich\w*|vorig\w*"
    r"|vorstehend\w*)"
)
_GERMAN_RULES = r"(?:anweisung(?:en)?|instruktion(?:en)?|regeln|vorgaben|befehle?|prompts?|richtlinien)"

PHRASES: tuple[str, ...] = (
    # ignore all previous instructions
    rf"\b(?:ignore|disregard|forget|override|bypass|overlook|neglect){_S}{_QUALIFIER}{{0,5}}"
    rf"{_EARLIER}{_S}(?:\w+{_S})?{_RULES}\b",
    rf"\b(?:ignore|disregard|forget|override|bypass){_S}(?:all{_S})?(?:of{_S})?your{_S}(?:\w+{_S})?{_RULES}\b",
    rf"\b(?:ignore|disregard|forget){_S}(?:everything|anything|all|what){_S}(?:of{_S}|that{_S})?"
    rf"(?:(?:you|i|we){_S}(?:were|was|have{_S}been|had{_S}been){_S}(?:told|instructed|taught)"
    rf"|(?:the{_S})?above|before{_S}this)\b",
    rf"\b(?:do{_S}not|don'?t){_S}(?:follow|obey){_S}(?:the{_S}|your{_S}|any{_S}){{0,3}}{_EARLIER}{_S}{_RULES}\b",
    # reveal your system prompt
    rf"\b(?:reveal|show|print|repeat|output|display|leak|expose|disclose|dump|tell{_S}me|give{_S}me|what{_S}is"
    rf"|what'?s|what{_S}are|write{_S}out){_S}(?:me{_S}|us{_S})?(?:all{_S}|of{_S}|exactly{_S}){{0,3}}your{_S}(?:\w+{_S})?"
    rf"{_SYSTEM_PROMPT}\b",
    rf"\b(?:reveal|leak|expose|disclose|dump|repeat|print){_S}(?:me{_S})?the{_S}(?:full{_S}|entire{_S})?"
    rf"(?:system|hidden|secret|developer)[\s-]*(?:prompt|instructions)\b",
    rf"\brepeat{_S}(?:the{_S})?(?:text|words|everything|all){_S}above\b",
    # you are now DAN, developer mode, jailbreak
    rf"\b(?:you{_S}are|you'?re|act{_S}as|pretend{_S}(?:to{_S}be|you{_S}are)){_S}(?:now{_S})?(?:a{_S}|an{_S})?"
    rf"(?:dan|do{_S}anything{_S}now|stan|dude|jailbroken|unrestricted{_S}(?:ai|assistant|model)"
    rf"|(?:ai|assistant|model|chatbot){_S}(?:without|with{_S}no){_S}(?:any{_S})?"
    rf"(?:restrictions|rules|limits|filters|guidelines))\b",
    rf"\b(?:you{_S}can|you{_S}will|as{_S}dan){_S}(?:now{_S})?do{_S}anything{_S}now\b",
    rf"\b(?:enable|enter|activate|switch{_S}to|turn{_S}on|go{_S}into|you{_S}are{_S}(?:now{_S})?in)"
    rf"{_S}(?:developer|dan|jailbreak|god|unrestricted|debug){_S}mode{_S}(?:enabled|output|now|and{_S}ignore"
    rf"|without|with{_S}no)\b",
    rf"\b(?:enable|enter|activate|switch{_S}to|turn{_S}on|go{_S}into|you{_S}are{_S}(?:now{_S})?in)"
    rf"{_S}(?:dan|jailbreak|god|unrestricted){_S}mode\b",
    rf"\b(?:chatgpt|gpt|claude|ai){_S}(?:with|in){_S}developer{_S}mode\b",
    rf"\bfrom{_S}now{_S}on,?{_S}(?:you{_S}(?:will|must|shall|are{_S}to){_S})?(?:ignore|disregard|bypass)\b",
    rf"\b(?:you{_S}have|there{_S}are){_S}(?:been{_S}freed{_S}from|no{_S}longer{_S}bound{_S}by){_S}",
    rf"\byou{_S}are{_S}no{_S}longer{_S}(?:bound{_S}by|restricted{_S}by|an?{_S}(?:ai|assistant))\b",
    rf"\bnew{_S}(?:system{_S}(?:prompt|instructions?)|instructions?{_S}from{_S}(?:the{_S})?(?:system|developer|admin)\w*)"
    r"\s*:",
    # German
    rf"\b(?:ignorier\w*|missacht\w*|vergiss|vergesst|vergessen{_S}sie|umgeh\w*|{_UMLAUT_U}bergeh\w*){_S}"
    rf"(?:(?:sie|bitte|jetzt|nun|alle\w*|s{_UMLAUT_A}mtliche\w*|deine\w*|ihre\w*|die|eure\w*|meine\w*){_S}){{0,5}}"
    rf"(?:{_GERMAN_EARLIER}{_S}(?:system)?{_GERMAN_RULES}|(?:system-?){_GERMAN_RULES})\b",
    rf"\b(?:ignorier\w*|missacht\w*|vergiss){_S}(?:bitte{_S})?(?:alle{_S})?deine{_S}(?:\w+{_S})?{_GERMAN_RULES}\b",
    rf"\bvergiss{_S}(?:bitte{_S})?alles,?{_S}was{_S}(?:du{_S}(?:bisher|vorher|zuvor)|dir{_S}(?:bisher|vorher|zuvor"
    rf"|gesagt))\b",
    rf"\b(?:zeig\w*|nenn\w*|verrat\w*|gib|wiederhol\w*|offenbar\w*){_S}(?:(?:mir|uns|bitte|sie){_S}){{0,3}}"
    rf"(?:deine\w*|ihre\w*|den|die){_S}(?:kompletten{_S}|ganzen{_S}|geheimen{_S}|vollst{_UMLAUT_A}ndigen{_S})?"
    rf"(?:system[\s-]*(?:prompts?|anweisung(?:en)?|nachricht)|geheimen?{_S}anweisungen)\b",
    rf"\bdu{_S}bist{_S}(?:jetzt|nun|ab{_S}jetzt|ab{_S}sofort){_S}(?:dan\b|ein\w*{_S}(?:uneingeschr{_UMLAUT_A}nkte\w*"
    rf"|unzensierte\w*){_S})",
    # fake role tags: of chat templates, and headings that pretend to be one
    r"<\|(?:im_start|im_end|system|user|assistant|endoftext|start_header_id|end_header_id|eot_id|begin_of_text)\|>",
    r"\[/?INST\]|<</?SYS>>|</?s>\s*\[INST\]",
    r"(?m:^\s*#{2,}\s*(?:system|new instructions?|system[\s-]prompt|system[\s-]message)\s*(?::|$))",
    r"(?m:^\s*<\s*/?\s*(?:system|system[_-]prompt|system[_-]message)\s*>)",
    r"(?m:^\s*\[\s*system(?:[\s_-](?:message|prompt|override))?\s*\]\s*:?)",
    r"(?m:^\s*(?:begin|end)\s+(?:of\s+)?system\s+(?:prompt|message)\b)",
)


class InjectionScanner:
    """The `prompt_injection` rule, compiled; one for all endpoints, since nothing in it is configured."""

    def __init__(self) -> None:
        self._phrases = compile_pattern("|".join(f"(?:{phrase})" for phrase in PHRASES), ignore_case=True)
        self._folding = _folding_table()
        self._foldable = _foldable_characters(self._folding)

    def check(self, text: str) -> None:
        """Nothing, for text without such a phrase. Raises: InjectionBlocked."""
        buffer = text.encode()
        # Only text with full-width letters, invisible characters and the like pays for the copy without them.
        if not text.isascii() and self._foldable.search(buffer) is not None:
            buffer = text.translate(self._folding).encode()
        if self._phrases.search(buffer) is not None:
            raise InjectionBlocked


@cache
def injection_scanner() -> InjectionScanner:
    """The one scanner."""
    return InjectionScanner()


def _folding_table() -> dict[int, str]:
    """Characters that read as ASCII, as that ASCII (NFKC); invisible ones (category Cf) as nothing.

    One character at a time: NFKC of a whole text takes quadratic time where combining marks are out of order (0.4 s
    for 32 KB), and composing accents would find nothing more here.
    """
    table = {}
    for code in _compatibility_codes():
        character = chr(code)
        folded = "" if unicodedata.category(character) == "Cf" else unicodedata.normalize("NFKC", character)
        if folded != character and folded.isascii():
            table[code] = folded
    return table


def _compatibility_codes() -> list[int]:
    # The basic plane without surrogates, mathematical and enclosed letters, and the invisible tags.
    return [*range(0x80, 0xD800), *range(0xE000, 0x10000), *range(0x1D400, 0x1F200), *range(0xE0000, 0xE0080)]


def _foldable_characters(table: dict[int, str]) -> Pattern:
    return compile_pattern("[" + "".join(f"\\x{{{code:X}}}" for code in table) + "]")
