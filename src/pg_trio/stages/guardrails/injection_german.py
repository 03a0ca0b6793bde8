"""German rules of `prompt_injection`."""

from __future__ import annotations

from pg_trio.stages.guardrails.injection_rule import HarmlessPlace, InjectionRule

_UMLAUT_U, _UMLAUT_A = r"(?:ü|ue|u\x{308})", r"(?:ä|ae|a\x{308})"
_GERMAN_EARLIER = (
    rf"(?:vorherig\w*|bisherig\w*|vorangegangen\w*|obig\w*|fr{_UMLAUT_U}her\w*|urspr{_UMLAUT_U}nglich\w*|vorig\w*"
    r"|vorstehend\w*)"
)
_GERMAN_RULES = r"(?:anweisung(?:en)?|instruktion(?:en)?|regeln|vorgaben|befehle?|prompts?|richtlinien)"
_GERMAN_OWN = rf"(?:(?:{_GERMAN_EARLIER}|internen|geheimen|eigenen|festgelegten|aktuellen) )"

GERMAN_RULES: tuple[InjectionRule, ...] = (
    InjectionRule(
        "ignoriere",
        "override",
        rf"\b(?:ignorier\w*|missacht\w*|vergiss|vergesst|vergessen sie|umgeh\w*|{_UMLAUT_U}bergeh\w*) "
        rf"(?:(?:sie|bitte|jetzt|nun|alle\w*|s{_UMLAUT_A}mtliche\w*|deine\w*|ihre\w*|die|eure\w*) ){{0,5}}"
        rf"(?:{_GERMAN_EARLIER} (?:system)?{_GERMAN_RULES}|(?:system-?){_GERMAN_RULES})\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "ignoriere-deine",
        "override",
        rf"\b(?:ignorier\w*|missacht\w*|vergiss) (?:bitte )?(?:alle )?deine {_GERMAN_OWN}?{_GERMAN_RULES}\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "vergiss-alles",
        "override",
        r"\bvergiss (?:bitte )?alles,? was (?:du (?:bisher|vorher|zuvor)|dir (?:bisher|vorher|zuvor"
        r"|gesagt))\b",
    ),
    InjectionRule(
        "zeig-deinen",
        "reveal",
        rf"\b(?:zeig\w*|nenn\w*|verrat\w*|gib|wiederhol\w*|offenbar\w*) (?:(?:mir|uns|bitte|sie) ){{0,3}}"
        rf"(?:deine\w*|ihre\w*|den|die) (?:kompletten |ganzen |geheimen |vollst{_UMLAUT_A}ndigen )?"
        r"(?:system[\s-]*(?:prompts?|anweisung(?:en)?|nachricht)|geheimen? anweisungen)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "du-bist",
        "persona",
        rf"\bdu bist (?:jetzt|nun|ab jetzt|ab sofort) (?:dan\b|ein\w* (?:uneingeschr{_UMLAUT_A}nkte\w*"
        r"|unzensierte\w*) )",
    ),
    InjectionRule(
        "ignoriere-erhalten",
        "override",
        r"\b(?:ignorier\w*|missacht\w*|vergiss|vergessen sie) (?:(?:sie|bitte|alle"
        rf"|die) ){{0,3}}{_GERMAN_RULES},? die (?:du|sie|dir|ihnen) (?:\w+ ){{0,3}}"
        r"(?:erhalten|bekommen|gegeben|befolg\w+)",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "wiederhole-oben",
        "reveal",
        rf"\b(?:wiederhol\w*|gib|zeig\w*|schreib\w*) (?:(?:mir|alles|den|die|bitte|noch einmal) ){{0,4}}"
        rf"(?:(?:text|worte|w{_UMLAUT_A}rter|anweisungen|instruktionen),? )?(?:(?:die|der|das) )?"
        rf"(?:oben|oberhalb|(?:{_UMLAUT_U}ber|vor) dieser (?:zeile|nachricht))\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "ohne-regeln",
        "persona",
        r"\b(?:ki|assistent|modell|chatbot|sprachmodell) (?:ohne|frei von) (?:(?:jegliche\w*"
        rf"|alle\w*|ethische\w*|moralische\w*|irgendwelche\w*) ){{0,2}}"
        rf"(?:einschr{_UMLAUT_A}nkungen|beschr{_UMLAUT_A}nkungen|regeln|filter|richtlinien|grenzen)",
    ),
)
