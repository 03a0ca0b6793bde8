"""The rules of `prompt_injection` as data: an id, a pattern, and what must not surround a match.

Each rule names the attacked thing (instructions, rules, system prompt) or a model's own format, so that everyday
sentences with "ignore" or "forget" pass. A rule's guard says which of its matches are harmless.
"""

from __future__ import annotations

from enum import Enum

from attrs import frozen


class HarmlessPlace(Enum):
    """The places in which a match is harmless."""

    NONE = "nowhere"
    # "… the above instructions on the old form": the words after it mean papers and people, not a model.
    OBJECT = "where instructions of the real world are meant"
    # In code fences, backticks and quotes: probably a programmer's chat template.
    CODE = "in code"


@frozen(slots=True)
class InjectionRule:
    """`pattern` has RE2's syntax and ignores case; `GAP` in it is white space between words."""

    id: str
    pattern: str
    guard: HarmlessPlace = HarmlessPlace.NONE


GAP = r"[\s\x{A0}]+"
# For text that had invisible characters, because one of them may have been the only separator of two words.
LOOSE_GAP = r"[\s\x{A0}]*"

_S = GAP
_EARLIER = r"(?:previous|prior|above|earlier|preceding|existing|initial|original|former)"
_RULES = r"(?:instructions?|directions?|directives?|guidelines?|rules|prompts?|commands?|programming|constraints?)"
_SYSTEM_PROMPT = (
    r"(?:system|initial|hidden|original|secret|internal|developer)[\s-]*"
    r"(?:prompts?|instructions?|message|guidelines)"
)
# Not "my" and "our": a customer may take back their own instructions.
_QUALIFIER = rf"(?:(?:all|any|every|each|of|the|your|these|those|this|that|other|{_EARLIER}){_S})"
# "your … rules": a model's rules. A person's password rules do not match.
_OWN = (
    rf"(?:(?:{_EARLIER}|system|safety|core|content|ethical|ethics|moral|internal|programmed|training|default|built-?in|hidden"
    rf"|secret|usual|normal|own|current|base|basic|developer|openai){_S})"
)
_UMLAUT_U, _UMLAUT_A = r"(?:ü|ue|u\x{308})", r"(?:ä|ae|a\x{308})"
_GERMAN_EARLIER = (
    rf"(?:vorherig\w*|bisherig\w*|vorangegangen\w*|obig\w*|fr{_UMLAUT_U}her\w*|urspr{_UMLAUT_U}nglich\w*|vorig\w*"
    r"|vorstehend\w*)"
)
_GERMAN_RULES = r"(?:anweisung(?:en)?|instruktion(?:en)?|regeln|vorgaben|befehle?|prompts?|richtlinien)"
_GERMAN_OWN = rf"(?:(?:{_GERMAN_EARLIER}|internen|geheimen|eigenen|festgelegten|aktuellen){_S})"
# The orders of an attack after a pretended role. "You must have 8 GB" and "You are now connected" are harmless.
_ORDER = (
    rf"(?:you{_S}(?:are|'re){_S}(?:now{_S})?(?:(?:a|an|the){_S})?(?:evil|dan|unrestricted|jailbroken|uncensored|unfiltered"
    rf"|free{_S}from|no{_S}longer|not{_S}bound|an?{_S}(?:ai|assistant|chatbot)|in{_S}\w+{_S}mode)"
    rf"|you{_S}(?:must|shall|will){_S}(?:now|ignore|obey|answer|respond|always|never|comply|follow|reveal|say)"
    rf"|(?:ignore|disregard|forget|override|bypass){_S}(?:all|any|every|your|previous|prior|earlier|safety)\b"
    rf"|obey\b|from{_S}now{_S}on|new{_S}(?:instructions?|prompt)\s*:|do{_S}not{_S}(?:follow|obey|refuse)"
    rf"|pretend{_S}(?:to|you|that)|reveal{_S}(?:the|your|all)|never{_S}refuse"
    rf"|ignorier\w*{_S}(?:alle|deine|die)|vergiss{_S}(?:alle|deine)|du{_S}(?:musst|bist{_S}(?:jetzt|nun)))"
)
_ROLE = r"(?:system|user|assistant|developer|tool)"

RULES: tuple[InjectionRule, ...] = (
    # ── ignore all previous instructions ──
    InjectionRule(
        "ignore-earlier",
        rf"\b(?:ignore|disregard|forget|override|bypass|overlook|neglect){_S}{_QUALIFIER}{{0,5}}"
        rf"{_EARLIER}{_S}(?:\w+{_S})?{_RULES}\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "ignore-yours",
        rf"\b(?:ignore|disregard|forget|override|bypass){_S}(?:all{_S})?(?:of{_S})?your{_S}{_OWN}{{0,2}}{_RULES}\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "ignore-everything",
        rf"\b(?:ignore|disregard|forget){_S}(?:everything|anything|all|what){_S}(?:of{_S}|that{_S})?"
        rf"(?:(?:you|i|we){_S}(?:were|was|have{_S}been|had{_S}been){_S}(?:told|instructed|taught)"
        rf"|(?:the{_S})?above|before{_S}this)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "do-not-follow",
        rf"\b(?:do{_S}not|don'?t){_S}(?:follow|obey){_S}(?:the{_S}|your{_S}|any{_S}){{0,3}}{_EARLIER}{_S}{_RULES}\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "from-now-on",
        rf"\bfrom{_S}now{_S}on,?{_S}(?:you{_S}(?:will|must|shall|are{_S}to){_S})?(?:ignore|disregard|bypass){_S}"
        rf"(?:everything|anything|all|any|every|your|what|safety|(?:the{_S})?(?:{_EARLIER}|{_RULES}))\b",
        HarmlessPlace.OBJECT,
    ),
    # ── reveal your system prompt ──
    InjectionRule(
        "reveal-yours",
        rf"\b(?:reveal|show|print|repeat|output|display|leak|expose|disclose|dump|tell{_S}me|give{_S}me|what{_S}is"
        rf"|what'?s|what{_S}are|write{_S}out){_S}(?:me{_S}|us{_S})?(?:all{_S}|of{_S}|exactly{_S}){{0,3}}your{_S}(?:\w+{_S})?"
        rf"{_SYSTEM_PROMPT}\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "reveal-the",
        rf"\b(?:reveal|leak|expose|disclose|dump|repeat|print){_S}(?:me{_S})?the{_S}(?:full{_S}|entire{_S})?"
        rf"(?:system|hidden|secret|developer)[\s-]*(?:prompt|instructions)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "repeat-above", rf"\brepeat{_S}(?:the{_S})?(?:text|words|everything|all){_S}above\b", HarmlessPlace.OBJECT
    ),
    # ── you are now DAN, developer mode, jailbreak ──
    InjectionRule(
        "persona",
        rf"\b(?:you{_S}are|you'?re|act{_S}as|pretend{_S}(?:to{_S}be|you{_S}are)){_S}(?:now{_S})?(?:a{_S}|an{_S})?"
        rf"(?:dan|do{_S}anything{_S}now|stan|dude|jailbroken|unrestricted{_S}(?:ai|assistant|model)"
        rf"|(?:ai|assistant|model|chatbot){_S}(?:without|with{_S}no){_S}(?:any{_S})?"
        rf"(?:restrictions|rules|limits|filters|guidelines))\b",
    ),
    InjectionRule("anything-now", rf"\b(?:you{_S}can|you{_S}will|as{_S}dan){_S}(?:now{_S})?do{_S}anything{_S}now\b"),
    InjectionRule(
        "developer-mode",
        rf"\b(?:enable|enter|activate|switch{_S}to|turn{_S}on|go{_S}into|you{_S}are{_S}(?:now{_S})?in)"
        rf"{_S}(?:developer|dan|jailbreak|god|unrestricted|debug){_S}mode{_S}(?:enabled|output|now|and{_S}ignore"
        rf"|without|with{_S}no)\b",
    ),
    InjectionRule(
        "jailbreak-mode",
        rf"\b(?:enable|enter|activate|switch{_S}to|turn{_S}on|go{_S}into|you{_S}are{_S}(?:now{_S})?in)"
        rf"{_S}(?:dan|jailbreak|god|unrestricted){_S}mode\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule("model-mode", rf"\b(?:chatgpt|gpt|claude|ai){_S}(?:with|in){_S}developer{_S}mode\b"),
    InjectionRule(
        "freed",
        rf"\byou{_S}have{_S}been{_S}freed{_S}from{_S}"
        rf"|\byou{_S}are{_S}no{_S}longer{_S}(?:bound{_S}by|restricted{_S}by|an?{_S}(?:ai|assistant))\b",
    ),
    InjectionRule(
        "new-instructions",
        rf"\bnew{_S}(?:system{_S}(?:prompt|instructions?)"
        rf"|instructions?{_S}from{_S}(?:the{_S})?(?:system|developer|admin)\w*)\s*:",
    ),
    # ── German ──
    InjectionRule(
        "ignoriere",
        rf"\b(?:ignorier\w*|missacht\w*|vergiss|vergesst|vergessen{_S}sie|umgeh\w*|{_UMLAUT_U}bergeh\w*){_S}"
        rf"(?:(?:sie|bitte|jetzt|nun|alle\w*|s{_UMLAUT_A}mtliche\w*|deine\w*|ihre\w*|die|eure\w*){_S}){{0,5}}"
        rf"(?:{_GERMAN_EARLIER}{_S}(?:system)?{_GERMAN_RULES}|(?:system-?){_GERMAN_RULES})\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "ignoriere-deine",
        rf"\b(?:ignorier\w*|missacht\w*|vergiss){_S}(?:bitte{_S})?(?:alle{_S})?deine{_S}{_GERMAN_OWN}?{_GERMAN_RULES}\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "vergiss-alles",
        rf"\bvergiss{_S}(?:bitte{_S})?alles,?{_S}was{_S}(?:du{_S}(?:bisher|vorher|zuvor)|dir{_S}(?:bisher|vorher|zuvor"
        rf"|gesagt))\b",
    ),
    InjectionRule(
        "zeig-deinen",
        rf"\b(?:zeig\w*|nenn\w*|verrat\w*|gib|wiederhol\w*|offenbar\w*){_S}(?:(?:mir|uns|bitte|sie){_S}){{0,3}}"
        rf"(?:deine\w*|ihre\w*|den|die){_S}(?:kompletten{_S}|ganzen{_S}|geheimen{_S}|vollst{_UMLAUT_A}ndigen{_S})?"
        rf"(?:system[\s-]*(?:prompts?|anweisung(?:en)?|nachricht)|geheimen?{_S}anweisungen)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "du-bist",
        rf"\bdu{_S}bist{_S}(?:jetzt|nun|ab{_S}jetzt|ab{_S}sofort){_S}(?:dan\b|ein\w*{_S}(?:uneingeschr{_UMLAUT_A}nkte\w*"
        rf"|unzensierte\w*){_S})",
    ),
    # ── a pretended role: tokens of chat templates with a turn behind them, headings with an order behind them ──
    InjectionRule(
        "chat-tokens",
        rf"<\|im_start\|>\s*{_ROLE}\s*(?:\n|:|{_ORDER})"
        rf"|<\|start_header_id\|>\s*{_ROLE}\s*<\|end_header_id\|>\s*\w"
        rf"|<\|{_ROLE}\|>\s*(?:\n\s*\w|{_ORDER})"
        rf"|<\|(?:im_end|eot_id|endoftext|end)\|>\s*(?:<\||(?:system|human|user|assistant)\s*:|{_ORDER})",
        HarmlessPlace.CODE,
    ),
    InjectionRule(
        "llama-tokens",
        r"(?m:^\s*(?:</?s>\s*)*\[INST\]\s*\w)|\[/INST\](?:.|\n){0,400}?\[INST\]|</s>\s*\[INST\]"
        r"|<<SYS>>\s*\w(?:.|\n){0,400}?<</SYS>>",
        HarmlessPlace.CODE,
    ),
    InjectionRule(
        "fake-heading",
        rf"(?m:^\s*#{{1,6}}\s*(?:system|new{_S}instructions?|system[\s-](?:prompt|message|instructions?|override)))"
        rf"\s*:?\s*(?:[-*>]\s*)?{_ORDER}",
    ),
    InjectionRule(
        "fake-tag",
        rf"(?m:^\s*<\s*(?:system|system[_-](?:prompt|message|instructions?)))\s*>\s*{_ORDER}"
        rf"|(?m:^\s*\[\s*system(?:[\s_-](?:message|prompt|override|note))?\s*\])\s*:?\s*{_ORDER}",
    ),
    InjectionRule(
        "end-of-prompt",
        r"(?m:^\W*(?:begin|end|start)\s+(?:of\s+)?(?:the\s+)?system\s+(?:prompt|message)\W*$)",
        HarmlessPlace.CODE,
    ),
)
