"""German rules of `prompt_injection`."""

from __future__ import annotations

from pg_trio.stages.guardrails.injection_rule import HarmlessPlace, InjectionRule

_UMLAUT_U, _UMLAUT_A = r"(?:ü|ue|u\x{308})", r"(?:ä|ae|a\x{308})"
_UMLAUT_O, _SZ = r"(?:ö|oe|o\x{308})", r"(?:ß|ss)"
_GERMAN_EARLIER = (
    rf"(?:vorherig[a-zà-ž]*|bisherig[a-zà-ž]*|vorangegangen[a-zà-ž]*|obig[a-zà-ž]*|fr{_UMLAUT_U}her[a-zà-ž]*"
    rf"|urspr{_UMLAUT_U}nglich[a-zà-ž]*|vorig[a-zà-ž]*"
    r"|vorstehend[a-zà-ž]*)"
)
_GERMAN_RULES = r"(?:anweisung(?:en)?|instruktion(?:en)?|regeln|vorgaben|befehle?|prompts?|richtlinien)"
_GERMAN_OWN = rf"(?:(?:{_GERMAN_EARLIER}|internen|geheimen|eigenen|festgelegten|aktuellen) )"

GERMAN_RULES: tuple[InjectionRule, ...] = (
    InjectionRule(
        "ignoriere",
        "override",
        r"\b(?:ignorier[a-zà-ž]*|missacht[a-zà-ž]*|vergiss|vergesst|vergessen sie"
        rf"|umgeh[a-zà-ž]*|{_UMLAUT_U}bergeh[a-zà-ž]*) "
        rf"(?:(?:sie|bitte|jetzt|nun|alle[a-zà-ž]*|s{_UMLAUT_A}mtliche[a-zà-ž]*|deine[a-zà-ž]*"
        rf"|ihre[a-zà-ž]*|die|eure[a-zà-ž]*) ){{0,5}}"
        rf"(?:{_GERMAN_EARLIER} (?:system)?{_GERMAN_RULES}|(?:system-?){_GERMAN_RULES})\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "ignoriere-deine",
        "override",
        rf"\b(?:ignorier[a-zà-ž]*|missacht[a-zà-ž]*|vergiss) (?:bitte )?(?:alle )?deine {_GERMAN_OWN}?{_GERMAN_RULES}"
        r"\b",
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
        r"\b(?:zeig[a-zà-ž]*|nenn[a-zà-ž]*|verrat[a-zà-ž]*|gib|wiederhol[a-zà-ž]*"
        rf"|offenbar[a-zà-ž]*) (?:(?:mir|uns|bitte|sie) ){{0,3}}"
        rf"(?:deine[a-zà-ž]*|ihre[a-zà-ž]*|den|die) (?:kompletten |ganzen |geheimen |vollst{_UMLAUT_A}ndigen )?"
        r"(?:system[\s-]*(?:prompts?|anweisung(?:en)?|nachricht)|geheimen? anweisungen)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "du-bist",
        "persona",
        rf"\bdu bist (?:jetzt|nun|ab jetzt|ab sofort) (?:dan\b|ein[a-zà-ž]* (?:uneingeschr{_UMLAUT_A}nkte[a-zà-ž]*"
        r"|unzensierte[a-zà-ž]*) )",
    ),
    InjectionRule(
        "ignoriere-erhalten",
        "override",
        r"\b(?:ignorier[a-zà-ž]*|missacht[a-zà-ž]*|vergiss|vergessen sie) (?:(?:sie|bitte|alle"
        rf"|die) ){{0,3}}{_GERMAN_RULES},? die (?:du|sie|dir|ihnen) (?:[a-zà-ž]+ ){{0,3}}"
        r"(?:erhalten|bekommen|gegeben|befolg[a-zà-ž]+)",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "wiederhole-oben",
        "reveal",
        r"\b(?:wiederhol[a-zà-ž]*|gib|zeig[a-zà-ž]*|schreib[a-zà-ž]*) (?:(?:mir|alles"
        rf"|den|die|bitte|noch einmal) ){{0,4}}"
        rf"(?:(?:text|worte|w{_UMLAUT_A}rter|anweisungen|instruktionen),? )?(?:(?:die|der|das) )?"
        rf"(?:oben|oberhalb|(?:{_UMLAUT_U}ber|vor) dieser (?:zeile|nachricht))\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "ohne-regeln",
        "persona",
        r"\b(?:ki|assistent|modell|chatbot|sprachmodell) (?:ohne|frei von) (?:(?:jegliche[a-zà-ž]*"
        rf"|alle[a-zà-ž]*|ethische[a-zà-ž]*|moralische[a-zà-ž]*|irgendwelche[a-zà-ž]*) ){{0,2}}"
        rf"(?:einschr{_UMLAUT_A}nkungen|beschr{_UMLAUT_A}nkungen|regeln|filter|richtlinien|grenzen)",
        HarmlessPlace.TOLD,
    ),
    InjectionRule(
        "anweisungen-ignorieren",
        "override",
        rf"\b(?:alle[a-zà-ž]*|s{_UMLAUT_A}mtliche[a-zà-ž]*|deine[a-zà-ž]*|die|jegliche[a-zà-ž]*) (?:deine[a-zà-ž]* "
        rf"|ihre[a-zà-ž]* )?{_GERMAN_EARLIER} (?:system)?"
        rf"{_GERMAN_RULES} (?:(?:bitte|jetzt|sofort|nun|komplett|vollst{_UMLAUT_A}ndig|einfach) ){{0,3}}(?:zu )?"
        rf"(?:ignorieren|vergessen|missachten|verwerfen|l{_UMLAUT_O}schen|{_UMLAUT_U}bergehen|aufheben)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "anweisungen-aufgehoben",
        "override",
        rf"\b(?:alle|deine|s{_UMLAUT_A}mtliche|die) {_GERMAN_EARLIER} (?:system)?{_GERMAN_RULES}"
        r" (?:sind|werden|wurden|gelten)"
        rf" (?:(?:ab )?(?:jetzt|sofort|nun|hiermit|alle) )*(?:aufgehoben|ung{_UMLAUT_U}ltig"
        rf"|nichtig|nicht mehr|au{_SZ}er kraft|gel{_UMLAUT_O}scht)",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "ignoriere-alles",
        "override",
        r"\b(?:ignorier[a-zà-ž]*|vergiss|missachte) (?:bitte )?(?:alles|alle) (?:oben(?:stehende)?"
        r"|obige|bisherige|vorherige|davor"
        rf"|dar{_UMLAUT_U}ber|vor dieser|was (?:oben|davor|vorher|zuvor|bisher))\b"
        r"|\bhalte? dich (?:ab jetzt |ab sofort )?nicht (?:mehr |l(?:ä|ae)nger )?an (?:deine"
        r"|die|irgendwelche) [a-zà-ž]*"
        r"(?:regeln|anweisungen|richtlinien|vorgaben|instruktionen)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "wie-lautet",
        "reveal",
        r"\b(?:wie (?:lautet|lauten|ist|sind)|was (?:steht in|ist|sind|stand in)|welche anweisungen"
        r" stehen in) (?:(?:genau|exakt|denn) )?"
        r"(?:dein[a-zà-ž]*|ihr[a-zà-ž]*) (?:genaue[a-zà-ž]* |kompletter? )?(?:system[\s-]*(?:prompt"
        r"|anweisung(?:en)?|nachricht)|prompt|"
        rf"(?:urspr{_UMLAUT_U}nglichen|internen|geheimen|initialen|versteckten) {_GERMAN_RULES})\b"
        r"|\b(?:zeig[a-zà-ž]*|nenn[a-zà-ž]*|verrat[a-zà-ž]*|gib|wiederhol[a-zà-ž]*"
        r"|sag[a-zà-ž]*|schreib[a-zà-ž]*) (?:(?:mir"
        r"|uns|bitte) ){0,2}(?:alle )?deine[a-zà-ž]* "
        rf"(?:urspr{_UMLAUT_U}nglichen|internen|geheimen|initialen|versteckten|genauen"
        rf"|vollst{_UMLAUT_A}ndigen) {_GERMAN_RULES}\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "bist-du",
        "persona",
        r"\b(?:ab (?:jetzt|sofort|nun)|von nun an|jetzt) bist du (?:dan\b|(?:eine?"
        r"|ein) (?:[a-zà-ž]+ )?(?:ki|assistent[a-zà-ž]*|chatbot|modell)"
        rf" (?:ohne|frei von) |(?:eine?|ein) (?:uneingeschr{_UMLAUT_A}nkte[a-zà-ž]*|unzensierte[a-zà-ž]*) )",
    ),
    InjectionRule(
        "alle-regeln",
        "override",
        r"\b(?:ignorier[a-zà-ž]*|missachte[a-zà-ž]*|vergiss|umgehe?|deaktivier[a-zà-ž]*) (?:bitte "
        rf"|ab jetzt )?(?:alle|s{_UMLAUT_A}mtliche) (?:deine |deiner )?"
        rf"(?:regeln|anweisungen|instruktionen|richtlinien|einschr{_UMLAUT_A}nkungen"
        r"|vorgaben)(?:[.!?,;:]|\z|\n| und )",
    ),
    InjectionRule(
        "deine-anweisungen",
        "reveal",
        r"\b(?:zeig[a-zà-ž]*|nenn[a-zà-ž]*|verrat[a-zà-ž]*|wiederhol[a-zà-ž]*|gib|sag[a-zà-ž]*) (?:(?:mir|uns"
        r"|bitte) ){0,2}(?:deine|deinen) (?:anweisungen|instruktionen|prompt)(?:[.!?,;:]"
        r"|\z|\n| aus\b)"
        r"|\bgib (?:mir )?(?:den|deinen) system[\s-]*prompt\b",
    ),
    InjectionRule(
        "obiger-text",
        "override",
        r"\b(?:ignorier[a-zà-ž]*|vergiss|missachte) (?:bitte )?(?:den|die|das) (?:obigen?"
        rf"|vorherigen?|bisherigen?|vorangegangenen?) (?:text|unterhaltung|gespr{_UMLAUT_A}ch"
        r"|kontext)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "als-ob-frei",
        "persona",
        rf"\b(?:tu(?:e)? so,? als (?:ob|w{_UMLAUT_A}rst|h{_UMLAUT_A}ttest)|stell dir vor,? du"
        rf"|du hast (?:ab )?(?:jetzt|nun|sofort)|du hast) (?:du )?(?:[a-zà-ž]+ ){{0,4}}(?:keine"
        r"|ohne(?: jegliche)?) "
        rf"(?:[a-zà-ž]+ )?(?:einschr{_UMLAUT_A}nkungen|beschr{_UMLAUT_A}nkungen|regeln|filter"
        rf"|grenzen)(?: mehr)?(?:[.!?,;:]|\z|\n| und | hast| h{_UMLAUT_A}ttest)",
        score=0.9,
    ),
)
