"""The ids of the rules of `prompt_injection`, for `allow`. The rules are in stages/guardrails/injection_rules."""

from __future__ import annotations

INJECTION_IDS: frozenset[str] = frozenset(
    """
    above-and-instead ai-without-limits all-your-instructions alle-regeln als-ob-frei anweisungen-aufgehoben
    anweisungen-ignorieren anything-now as-one-without-limits befolge-nicht bist-du chat-tokens deine-anweisungen
    developer-mode developer-mode-and disable-safety do-anything-now do-not-follow du-bist end-of-prompt es-above
    es-all-rules es-free es-ignore es-ignore-tus es-persona es-repeat-above es-reveal everything-above
    fake-heading fake-order fake-tag forget-yourself fr-above fr-all-rules fr-free fr-ignore fr-ignore-tes
    fr-no-limits fr-persona fr-repeat-above fr-reveal freed from-now-on given-instructions ignore-above
    ignore-and-do ignore-and-following ignore-earlier ignore-everything ignore-given ignore-rest ignore-system
    ignore-yours ignoriere ignoriere-alles ignoriere-deine ignoriere-erhalten initial-instructions
    instructions-void it-above it-all-rules it-di-cui-sopra it-free it-ignore it-ignore-precedenti it-persona
    it-repeat-above it-reveal ja-above ja-ignore ja-persona ja-reveal jailbreak-mode llama-tokens
    mode-without-rules model-mode never-were new-instructions no-limits-ai no-policy no-restrictions obiger-text
    ohne-regeln past-your-safety persona prompt-says pt-above pt-all-rules pt-free pt-ignore pt-ignore-suas
    pt-persona pt-repeat-above pt-reveal real-task repeat-above repeat-all-above reveal-given reveal-system
    reveal-the reveal-whole reveal-yours rules-no-longer safety-filters-off sign-act-as sign-anything
    sign-bad-things sign-chatgpt sign-confirm sign-dan sign-debugger sign-developer-mode sign-evil sign-filters
    sign-from-now-on sign-hidden-note sign-hypothetical sign-ignore sign-image sign-in-character sign-invisible
    sign-jailbreak sign-made-up sign-never-refuse sign-no-limits sign-no-warnings sign-not-an-ai sign-note-to-ai
    sign-obey sign-only-output sign-openai-policy sign-prefix sign-profanity sign-prompt sign-role-turn sign-send
    sign-show sign-threat sign-two-answers sign-unlimited sign-verbatim sign-when-asked sign-you-are-now
    sign-your-prompt starting-you-are stop-everything text-above text-of-prompt vergiss-alles wie-lautet
    wiederhole-oben your-instructions your-system-message your-system-prompt zeig-deinen zh-above zh-forget-told
    zh-free zh-ignore zh-persona zh-reveal zh-reveal-it
    """.split()  # noqa: SIM905  # a list would have a hundred lines
)
