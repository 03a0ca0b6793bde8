"""The ids of the rules of `prompt_injection`, for `allow`. The rules are in stages/guardrails/injection_rules."""

from __future__ import annotations

INJECTION_IDS: frozenset[str] = frozenset(
    """
    anything-now chat-tokens developer-mode disable-safety do-anything-now do-not-follow du-bist end-of-prompt
    es-ignore es-ignore-tus es-persona es-reveal fake-heading fake-tag forget-yourself fr-ignore fr-ignore-tes
    fr-persona fr-reveal freed from-now-on ignore-and-do ignore-and-following ignore-earlier ignore-everything
    ignore-given ignore-rest ignore-yours ignoriere ignoriere-deine ignoriere-erhalten initial-instructions
    it-ignore it-ignore-precedenti it-persona it-reveal ja-ignore ja-persona ja-reveal jailbreak-mode
    llama-tokens model-mode new-instructions no-limits-ai no-policy ohne-regeln persona pt-ignore pt-ignore-suas
    pt-persona pt-reveal real-task repeat-above reveal-given reveal-system reveal-the reveal-whole reveal-yours
    sign-act-as sign-anything sign-bad-things sign-chatgpt sign-confirm sign-dan sign-debugger
    sign-developer-mode sign-evil sign-filters sign-from-now-on sign-hidden-note sign-hypothetical sign-ignore
    sign-image sign-in-character sign-invisible sign-jailbreak sign-made-up sign-never-refuse sign-no-limits
    sign-no-warnings sign-not-an-ai sign-note-to-ai sign-obey sign-only-output sign-openai-policy sign-prefix
    sign-profanity sign-prompt sign-role-turn sign-send sign-show sign-threat sign-two-answers sign-unlimited
    sign-verbatim sign-when-asked sign-you-are-now sign-your-prompt starting-you-are stop-everything text-above
    vergiss-alles wiederhole-oben zeig-deinen zh-ignore zh-persona zh-reveal
    """.split()  # noqa: SIM905  # a list would have a hundred lines
)
