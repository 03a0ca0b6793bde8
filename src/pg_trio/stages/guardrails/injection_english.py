"""English rules of `prompt_injection` that are enough alone.

Each names the attacked thing (instructions, rules, system prompt) or a model's own words, so that everyday sentences
with "ignore" or "forget" pass.
"""

from __future__ import annotations

from pg_trio.stages.guardrails.injection_rule import HarmlessPlace, InjectionRule

_EARLIER = r"(?:previous|prior|above|earlier|preceding|existing|initial|original|former)"
_RULES = (
    r"(?:instructions?|directions?|directives?|guidelines?|guidance|rules|prompts?"
    r"|commands?|programming|constraints?)"
)
_SYSTEM_PROMPT = (
    r"(?:system|initial|hidden|original|secret|internal|developer)[\s-]*"
    r"(?:prompts?|instructions?|message|guidelines)"
)
# Not "my" and "our": a customer may take back their own instructions.
_QUALIFIER = rf"(?:(?:all|any|every|each|of|the|your|these|those|this|that|other|{_EARLIER}) )"
# "your … rules": a model's rules. A person's password rules do not match.
_OWN = (
    rf"(?:(?:{_EARLIER}|system|safety|core|content|ethical|ethics|moral|internal"
    r"|programmed|training|default|built-?in|hidden"
    r"|secret|usual|normal|own|current|base|basic|developer|openai) )"
)

_GIVEN = (
    r"(?:(?:that )?you (?:have |had |were |ve |are |'ve )?(?:been )?(?:just )?(?:got"
    r"|get|received|given|gave|told|provided|learned|learnt"
    r"|taught|shown|programmed|trained|instructed)(?: with| on| to follow| by \w+)?)"
)
_TIME = (
    r"(?:(?:before|previously|prior|earlier|so far|until now|up to (?:now|this point)"
    r"|initially|at (?:the )?(?:start|beginning))\b)"
)
_SHOW = (
    r"(?:reveal|show|print|repeat|output|display|leak|expose|disclose|dump|tell me"
    r"|give me|what (?:is|are|were)|what'?s|write(?: out)?"
    r"|list|share|provide|recite|copy|return|encode|translate|summari[sz]e|paraphrase"
    r"|spell out|quote|send me|describe|restate)"
)
_WHOLE = (
    r"(?:(?:full|entire|exact|complete|whole|original|initial|system|hidden|secret"
    r"|first|developer|base|core|internal|starting|pre-?defined|confidential|verbatim) )"
)

ENGLISH_RULES: tuple[InjectionRule, ...] = (
    InjectionRule(
        "ignore-earlier",
        "override",
        rf"\b(?:ignore|disregard|forget|override|bypass|overlook|neglect) {_QUALIFIER}{{0,5}}"
        rf"{_EARLIER} (?:\w+ )?{_RULES}\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "ignore-yours",
        "override",
        rf"\b(?:ignore|disregard|forget|override|bypass) (?:all )?(?:of )?your {_OWN}{{0,2}}{_RULES}\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "ignore-everything",
        "override",
        r"\b(?:ignore|disregard|forget) (?:everything|anything|all|what) (?:of |that )?"
        r"(?:(?:you|i|we) (?:were|was|have been|had been) (?:told|instructed|taught)"
        r"|(?:the )?above|before this)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "do-not-follow",
        "override",
        rf"\b(?:do not|don'?t) (?:follow|obey) (?:the |your |any ){{0,3}}{_EARLIER} {_RULES}\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "from-now-on",
        "override",
        r"\bfrom now on,? (?:you (?:will|must|shall|are to) )?(?:ignore|disregard|bypass) "
        rf"(?:everything|anything|all|any|every|your|what|safety|(?:the )?(?:{_EARLIER}|{_RULES}))\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "new-instructions",
        "override",
        r"\bnew (?:system (?:prompt|instructions?)"
        r"|instructions? from (?:the )?(?:system|developer|admin)\w*)\s*:",
    ),
    InjectionRule(
        "ignore-given",
        "override",
        r"\b(?:ignore|disregard|forget|override|overlook) (?:(?:all|any|every|each"
        rf"|of|the|your|these|those|other) ){{0,4}}(?:\w+ )?{_RULES},? "
        rf"{_GIVEN}(?: {_TIME}|[.,:;!])",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "ignore-and-following",
        "override",
        rf"\b(?:ignore|disregard|forget) (?:(?:all|any|every|the|your) ){{0,3}}(?:{_EARLIER} "
        rf"(?:and|or) \w+|following and {_EARLIER}) {_RULES}\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "ignore-and-do",
        "override",
        rf"\b(?:ignore|disregard|forget) (?:(?:all|any|every|the|your|these|those|of) ){{0,3}}{_RULES},?"
        r" (?:and )?(?:just |only |instead |simply |then )"
        r"(?:print|say|output|respond|reply|answer|write|tell|do|translate|follow)\b",
    ),
    InjectionRule(
        "ignore-rest",
        "override",
        r"\b(?:ignore|disregard|skip) (?:the )?(?:rest|remainder) of (?:this|the|these) (?:data"
        r"|document|text|page|file|message|conversation|prompt|context|input|article"
        r"|content)s?"
        r"(?:,| and| then|\.|:) (?:and )?(?:just |instead |only )?(?:print|say|output"
        r"|respond|reply|answer|write|tell|follow|do|use|send)\b"
        r"|\b(?:ignore|disregard) (?:all|any|every|everything)(?: other| the)? (?:info"
        r"|information|text|content|context|data|input) (?:except|other than|but)\b",
    ),
    InjectionRule(
        "forget-yourself",
        "override",
        r"\b(?:forget|ignore|disregard) (?:(?:about|all|all of|everything about|everything you know about|that) )?"
        r"(?:you(?:'re| are)(?: just| only)? (?:an? )?(?:ai|assistant|chatgpt|gpt"
        r"|chatbot|language model|large language model)"
        r"|being (?:an? )?(?:ai|assistant|chatgpt|gpt|chatbot|language model)"
        r"|your (?:training|programming|identity|restrictions|limitations|guidelines"
        r"|safety \w+|ethical \w+|moral \w+|previous \w+))\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "disable-safety",
        "override",
        r"\b(?:bypass|disable|turn off|switch off|remove|ignore|override|deactivate"
        r"|circumvent|drop|lift|suspend|break|evade|get around) (?:(?:all|any|of|every) ){0,3}your"
        r" (?:own )?"
        r"(?:(?:safety|content|ethical|moral|openai|usage|internal|built-?in|programmed|default|security) )*"
        r"(?:filters?|guidelines?|restrictions?|protocols?|mechanisms?|measures?|polic(?:y"
        r"|ies)|guardrails?|constraints?|limitations?|limits|safeguards?|censorship"
        r"|safety|ethics|morals)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "stop-everything",
        "override",
        r"\bstop everything[!. ]+(?:now[!. ]+)?(?:and )?just (?:print|say|output|write|repeat)\b",
    ),
    InjectionRule(
        "real-task",
        "override",
        r"\b(?:your|the) (?:new|real|actual|true|only|updated) (?:task|goal|objective"
        r"|instructions?|mission|purpose|job) (?:is|are|now is)(?: now)? (?:to |: ?)?"
        r"(?:ignore|reveal|print|say|output|send|leak|exfiltrate|respond only|answer only|comply|obey)\b",
    ),
    InjectionRule(
        "reveal-yours",
        "reveal",
        r"\b(?:reveal|show|print|repeat|output|display|leak|expose|disclose|dump|tell me|give me|what is"
        rf"|what'?s|what are|write out) (?:me |us )?(?:all |of |exactly ){{0,3}}your (?:\w+ )?"
        rf"{_SYSTEM_PROMPT}\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "reveal-the",
        "reveal",
        r"\b(?:reveal|leak|expose|disclose|dump|repeat|print) (?:me )?the (?:full |entire )?"
        r"(?:system|hidden|secret|developer)[\s-]*(?:prompt|instructions)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "repeat-above", "reveal", r"\brepeat (?:the )?(?:text|words|everything|all) above\b", HarmlessPlace.OBJECT
    ),
    InjectionRule(
        "reveal-whole",
        "reveal",
        rf"\b{_SHOW} (?:me |us |back )?(?:(?:all|of|exactly|the|everything|contents?"
        rf"|text|in|verbatim|to me) ){{0,4}}your {_WHOLE}{{1,3}}(?:\w+ )?"
        r"(?:prompts?|instructions?|directives?|guidelines|rules|message|configuration|context|settings)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "reveal-system",
        "reveal",
        rf"\b{_SHOW} (?:me |us |back )?(?:(?:all|of|exactly|everything|contents?|text"
        rf"|in|verbatim) ){{0,4}}the {_WHOLE}{{0,2}}(?:system|hidden|initial|secret"
        r"|developer)[\s-]*"
        r"(?:prompts?|instructions|message)(?: (?:above|verbatim|word for word|you"
        r"|for (?:troubleshooting|debugging))|[.?!:]|\z)",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "reveal-given",
        "reveal",
        rf"\b{_SHOW} (?:me |us |back )?(?:(?:all|of|exactly|the|everything|any|every"
        rf"|contents?) ){{0,4}}(?:instructions?|text|words|rules|prompt|information"
        rf"|directives|message|guidelines) {_GIVEN} (?:{_TIME}|in (?:the|your) (?:system"
        r"|first|initial))"
        r"|\bwhat (?:were|was|have) you (?:been )?(?:told|instructed|given|asked)(?: to do)?"
        rf" (?:{_TIME}|before (?:this|our) (?:conversation|chat|session))",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "initial-instructions",
        "reveal",
        r"\bwhat(?:'s| is| are| were) (?:your|the opposite of your) (?:initial|system"
        r"|original|hidden|first|starting|secret) (?:instructions?|prompts?|message"
        r"|directives?)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "starting-you-are",
        "reveal",
        r"\b(?:beginning|starting|start|begin) (?:from |with |at )+(?:the (?:words|phrase|text) )?[\"'“‘`]?you are\b",
    ),
    InjectionRule(
        "text-above",
        "reveal",
        r"\b(?:output|print|repeat|copy|write|show|display|return|give me) (?:me )?(?:back )?"
        r"(?:the |all |everything )?(?:(?:text|words|content|message|lines|instructions"
        r"|prompt)s? )?"
        r"(?:above|before this(?: line| message| point)?)(?: (?:in full|verbatim|word for word"
        r"|exactly|in (?:a )?(?:code|txt|text|markdown))|,? (?:inside|within) a)",
    ),
    InjectionRule(
        "persona",
        "persona",
        r"\b(?:you are|you'?re|act as|pretend (?:to be|you are)) (?:now )?(?:a |an )?"
        r"(?:dan|do anything now|stan|dude|jailbroken|unrestricted (?:ai|assistant|model)"
        r"|(?:ai|assistant|model|chatbot) (?:without|with no) (?:any )?"
        r"(?:restrictions|rules|limits|filters|guidelines))\b",
    ),
    InjectionRule("anything-now", "persona", r"\b(?:you can|you will|as dan) (?:now )?do anything now\b"),
    InjectionRule(
        "developer-mode",
        "mode",
        r"\b(?:enable|enter|activate|switch to|turn on|go into|you are (?:now )?in)"
        r" (?:developer|dan|jailbreak|god|unrestricted|debug) mode (?:enabled|output|now|and ignore"
        r"|without|with no)\b",
    ),
    InjectionRule(
        "jailbreak-mode",
        "mode",
        r"\b(?:enable|enter|activate|switch to|turn on|go into|you are (?:now )?in)"
        r" (?:dan|jailbreak|god|unrestricted) mode\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule("model-mode", "mode", r"\b(?:chatgpt|gpt|claude|ai) (?:with|in) developer mode\b"),
    InjectionRule(
        "freed",
        "persona",
        r"\byou have been freed from "
        r"|\byou are no longer (?:an? (?:ai|assistant)|(?:bound|restricted|limited"
        r"|constrained|governed) by (?:any |all |the |your |these |those )?"
        r"(?:\w+ )?(?:rules|restrictions|guidelines|programming|polic(?:y|ies)|limitations"
        r"|constraints|instructions|ethics|filters|laws|openai))\b",
    ),
    InjectionRule(
        "do-anything-now",
        "persona",
        r"\b(?:stands for|short for|called|known as|means|acronym \w+|act as|named) [\"'“‘]?"
        r"(?:do|say|tell|create) anything now\b|\bDAN mode\b"
        r"|\b(?:act|respond|answer|behave|speak|reply|roleplay|going to be|pretend to be) (?:as"
        r"|like)? ?(?:a |an |the )?[\"'“‘]?(?-i:DAN|STAN|DUDE|AIM|JailBreak|BetterDAN"
        r"|EvilBOT)\b",
    ),
    InjectionRule(
        "no-policy",
        "persona",
        r"\b(?:(?:not|no longer) (?:subject to|bound (?:by|to)|restricted by|governed by"
        r"|limited by|required to follow|follow|constrained by|have to (?:follow|abide by"
        r"|adhere to|comply with))"
        r"|free (?:from|of)|(?:does|do|will|need|must|should)(?:n'?t| not) (?:have to "
        r"|need to |always )?(?:follow|abide by|comply with|adhere to|care about|respect"
        r"|obey)"
        r"|violates?|breaks?|against|ignor(?:es?|ing)|disregard(?:s|ing)?|bypass(?:es"
        r"|ing)?) (?:(?:any|all|the|of|by|current|other) ){0,3}open ?ai(?:'s|’s|s)? (?:\w+ ){0,2}"
        r"(?:polic(?:y|ies)|guidelines?|rules|restrictions?|terms|limitations?)\b",
    ),
    InjectionRule(
        "no-limits-ai",
        "persona",
        r"\b(?:an?|the) (?:\w+ )?(?:ai|model|assistant|chatbot|character|language model"
        r"|bot|llm)(?: model| assistant)?,? (?:that|who|which)?(?: has| have| is| with"
        r"| without| having)? ?"
        r"(?:no|without(?: any)?|free (?:of|from)(?: all| any)?|unbound by|not bound by(?: any)?"
        r"|not limited by(?: any)?) (?:\w+ ){0,2}"
        r"(?:restrictions?|limitations?|filters?|guidelines|censorship|boundaries"
        r"|morals?|ethics|rules|constraints)\b",
    ),
    InjectionRule(
        "ignore-above",
        "override",
        r"\b(?:ignore|disregard|forget|override|bypass) (?:(?:all|any|every|the|your"
        rf"|these|those|of) ){{0,4}}{_RULES} "
        r"(?:above|before this|preceding this|up to (?:now|here)|so far|(?:stated"
        r"|listed|given|written|mentioned|provided)"
        r" (?:above|before|earlier|previously|so far))\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "ignore-system",
        "override",
        r"\b(?:ignore|disregard|override|bypass|forget|overrule) (?:(?:the|your|all|any|every|of|what) ){0,4}"
        r"(?:system|developer|initial|hidden) (?:prompts?|messages?|instructions?)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "instructions-void",
        "override",
        rf"\b(?:(?:your|all|any|all of your|all the) ){{1,2}}(?:{_EARLIER}|system|current|safety) (?:\w+ )?{_RULES} "
        r"(?:(?:are|is|have been|has been|were) (?:now |hereby |all )?(?:void|null"
        r"|cancel+ed|revoked|overridden|obsolete"
        r"|suspended|deleted|replaced|superseded|lifted|erased|removed|invalid|no longer (?:valid"
        r"|apply|in (?:effect|force)))"
        r"|no longer appl(?:y|ies)|do(?:es)? not apply|don'?t apply)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "no-restrictions",
        "persona",
        r"\byou (?:now |will |shall |must )?(?:have|are|were|had|operate|exist|act)(?: now| an ai)?"
        r" (?:absolutely |completely )?(?:no|without(?: any)?|free of(?: all)?|free from(?: all)?"
        r"|not bound by(?: any)?)"
        r" (?:ethical |moral |content |safety |legal |programmed )*(?:restrictions"
        r"|limitations|filters|guidelines|censorship)\b",
        HarmlessPlace.OBJECT,
        score=0.7,
    ),
    InjectionRule(
        "given-instructions",
        "reveal",
        rf"\bwhat (?:exact |initial |system |hidden )?{_RULES} (?:were|have|did) you (?:been |get |receive )?"
        r"(?:given|told|received?|following|programmed with|get)\b"
        rf"|\b{_SHOW} (?:me |us )?(?:the |all |all the )?(?:exact |full |initial )?(?:prompt"
        r"|instructions|system message|directives)"
        r" (?:that )?you (?:were|have been|are|had been|got|received|'ve been)"
        r"(?: (?:given|provided|told|initiali[sz]ed|configured|set up)(?: with)?)?\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "everything-above",
        "reveal",
        r"\b(?:print|output|repeat|show|display|copy|return|write out|recite|reproduce) (?:me )?(?:back )?"
        r"(?:everything|all of the text|all the text|all text|the text|the words|the content"
        r"|the entire text|all|every word)"
        r" (?:above|before this|prior to this|preceding this)(?: (?:this )?(?:line|message|point|text|sentence))?"
        r"(?:[.!,:;?]|\z|\n| and | in | verbatim| exactly| word for)",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "your-instructions",
        "reveal",
        rf"\b{_SHOW} (?:me |us |back )?(?:(?:all|of|exactly|the|full|text) ){{0,3}}your (?:exact"
        r" |own |full |current |actual )?"
        r"(?:instructions|prompt|directives)(?:[.!?,;]|\z|\n| verbatim| word for word| in full| exactly)",
    ),
    InjectionRule(
        "all-your-instructions",
        "override",
        r"\b(?:ignore|disregard|forget) (?:all |any |every )(?:the |of your |your "
        rf"|of the )?(?:{_RULES}|restrictions|limitations)(?:[.!?,;:]|\z|\n| and )"
        r"|\b(?:ignore|disregard|forget) (?:everything|all|anything) (?:that is |that'?s "
        rf"|written |stated )?in your (?:{_RULES}|system prompt)\b",
    ),
    InjectionRule(
        "prompt-says",
        "reveal",
        r"\bwhat (?:does|did|do) your (?:system |initial |hidden |original )(?:prompt"
        r"|instructions|message) (?:say|contain|tell|look like|include)\b",
        HarmlessPlace.OBJECT,
    ),
    InjectionRule(
        "mode-without-rules",
        "mode",
        r"\b(?:enable|enter|activate|switch to|turn on|go into|start) (?:the )?(?:developer"
        r"|god|sudo|unrestricted|jailbreak)"
        r" mode,? (?:and|then) (?:answer|respond|reply|act|ignore|reveal|output)\b",
    ),
)
