"""Rules of `prompt_injection` for a pretended role: tokens of chat templates with a turn behind them, headings with an
order behind them."""

from __future__ import annotations

from pg_trio.stages.guardrails.injection_rule import HarmlessPlace, InjectionRule

# The orders of an attack after a pretended role. "You must have 8 GB" and "You are now connected" are harmless.
_ORDER = (
    r"(?:you (?:are|'re) (?:now )?(?:(?:a|an|the) )?(?:evil|dan|unrestricted|jailbroken|uncensored|unfiltered"
    r"|free from|no longer|not bound|an? (?:ai|assistant|chatbot)|in \w+ mode)"
    r"|you (?:must|shall|will) (?:now|ignore|obey|answer|respond|always|never|comply|follow|reveal|say)"
    r"|(?:ignore|disregard|forget|override|bypass) (?:all|any|every|your|previous|prior|earlier|safety)\b"
    r"|obey\b|from now on|new (?:instructions?|prompt)\s*:|do not (?:follow|obey|refuse)"
    r"|pretend (?:to|you|that)|reveal (?:the|your|all)|never refuse"
    r"|ignorier\w* (?:alle|deine|die)|vergiss (?:alle|deine)|du (?:musst|bist (?:jetzt|nun)))"
)
_ROLE = r"(?:system|user|assistant|developer|tool)"


TEMPLATE_RULES: tuple[InjectionRule, ...] = (
    InjectionRule(
        "chat-tokens",
        "template",
        rf"<\|im_start\|>\s*{_ROLE}\s*(?:\n|:|{_ORDER})"
        rf"|<\|start_header_id\|>\s*{_ROLE}\s*<\|end_header_id\|>\s*\w"
        rf"|<\|{_ROLE}\|>\s*(?:\n\s*\w|{_ORDER})"
        rf"|<\|(?:im_end|eot_id|endoftext|end)\|>\s*(?:<\||(?:system|human|user|assistant)\s*:|{_ORDER})",
        HarmlessPlace.CODE,
    ),
    InjectionRule(
        "llama-tokens",
        "template",
        r"(?m:^\s*(?:</?s>\s*)*\[INST\]\s*\w)|\[/INST\](?:.|\n){0,400}?\[INST\]|</s>\s*\[INST\]"
        r"|<<SYS>>\s*\w(?:.|\n){0,400}?<</SYS>>",
        HarmlessPlace.CODE,
    ),
    InjectionRule(
        "fake-heading",
        "template",
        rf"(?m:^\s*#{{1,6}}\s*(?:system|new instructions?|system[\s-](?:prompt|message|instructions?|override)))"
        rf"\s*:?\s*(?:[-*>]\s*)?{_ORDER}",
    ),
    InjectionRule(
        "fake-tag",
        "template",
        rf"(?m:^\s*<\s*(?:system|system[_-](?:prompt|message|instructions?)))\s*>\s*{_ORDER}"
        rf"|(?m:^\s*\[\s*system(?:[\s_-](?:message|prompt|override|note))?\s*\])\s*:?\s*{_ORDER}",
    ),
    InjectionRule(
        "end-of-prompt",
        "template",
        r"(?m:^\W*(?:begin|end|start)\s+(?:of\s+)?(?:the\s+)?system\s+(?:prompt|message)\W*$)",
        HarmlessPlace.CODE,
    ),
)
