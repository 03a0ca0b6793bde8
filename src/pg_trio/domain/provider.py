"""The known providers, as data: their addresses and wires.

A new provider of a known wire is one line here. A new wire also needs an adapter in `providers/`.
"""

from __future__ import annotations

from attrs import frozen


@frozen(slots=True)
class Provider:
    """A provider's public facts. `base_url` has no trailing slash. Sources: each provider's API reference, 2026-11.

    `names_every_role`: messages of any role may have a `name`; otherwise only tool messages may, and the provider
    refuses others. `nine_character_call_ids`: ids of tool calls must be nine letters and digits; the provider refuses
    others. `call_id_chars`: the longest tool call id that the provider accepts at its own address (None: any).
    `asks_for_stream_usage`: a stream has usage only if `stream_options` asks for it; otherwise the provider refuses
    that field, at its own address. `marks_partial_answer`: a last assistant message that the model must continue needs
    a mark.
    """

    name: str
    base_url: str
    wire: str
    needs_key: bool = True
    output_limit_field: str = "max_tokens"
    names_every_role: bool = True
    nine_character_call_ids: bool = False
    call_id_chars: int | None = None
    asks_for_stream_usage: bool = True
    marks_partial_answer: bool = False


PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(
            "openai",
            "https://api.openai.com/v1",
            "openai",
            output_limit_field="max_completion_tokens",
            # A 400 for a longer one: "Expected a string with maximum length 40" (agno-agi/agno#5382).
            call_id_chars=40,
        ),
        Provider(
            "mistral",
            "https://api.mistral.ai/v1",
            "openai",
            names_every_role=False,
            nine_character_call_ids=True,
            # Usage comes without a request in the last chunk; `stream_options` is a 422, "Extra inputs are not
            # permitted" (avante-corp/avante.nvim#2347).
            asks_for_stream_usage=False,
            # `prefix`, or a 400: "Expected last role User or Tool (or Assistant with prefix True)".
            marks_partial_answer=True,
        ),
        Provider("groq", "https://api.groq.com/openai/v1", "openai"),
        # Some of its models report usage only on request (vercel/ai#17986).
        Provider("together", "https://api.together.xyz/v1", "openai"),
        # $OLLAMA_BASE_URL replaces this address if it is set (config).
        Provider("ollama", "http://localhost:11434/v1", "openai", needs_key=False),
    )
}
