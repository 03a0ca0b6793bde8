"""Notes on a configuration: not mistakes, but worth knowing before the first call."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from pg_trio.config import Configuration
from pg_trio.domain.guardrails import NO_OUTPUT_RULES
from pg_trio.domain.prices import NANO
from pg_trio.domain.project import Endpoint
from pg_trio.stages.budget import SpendPlan
from pg_trio.stages.guardrails import compile_output


def describe_notes(configuration: Configuration) -> Iterator[str]:
    """Each note as a line: the file's own notes, and budgets that are too small for one call."""
    yield from configuration.notes
    output_tokens = configuration.settings.gateway.default_output_tokens
    for project in configuration.settings.projects.values():
        for endpoint in project.endpoints.values():
            if note := _note_budget(endpoint, output_tokens):
                yield f"{project.slug}/{endpoint.slug}: monthly_budget_usd: {note}"
            yield from _note_guardrails(f"{project.slug}/{endpoint.slug}", endpoint)
        for entry in project.providers:
            # With the price that holds for any model, if there is one.
            if note := _note_budget(entry.endpoint_for("*"), output_tokens):
                yield f"{project.slug}/{', '.join(entry.globs())}: monthly_budget_usd: {note}"


def _note_budget(endpoint: Endpoint, default_output_tokens: int) -> str | None:
    """A note if the reservation of the smallest request exceeds the whole budget."""
    plan = SpendPlan.of(endpoint, default_output_tokens)
    if plan.budget_nano_usd is None:
        return None
    streams = [("streamed call", plan.stream_answers)] if endpoint.streaming_enabled else []
    for call, answers in [("call", 1), *streams]:
        # An empty request: the client's text comes on top.
        amount = plan.cost_nano_usd(0, answers)
        if amount > plan.budget_nano_usd:
            return (
                f"each {call} reserves ${_usd(amount)} at least, more than the whole budget of"
                f" ${_usd(plan.budget_nano_usd)}, so all are refused; lower max_output_tokens, or raise the budget"
            )
    return None


def _note_guardrails(place: str, endpoint: Endpoint) -> Iterator[str]:
    """A note for each guardrail for answers that may need more of a stream than is held back."""
    rules, guards = endpoint.guardrails.output, None
    if endpoint.streaming_enabled and rules != NO_OUTPUT_RULES:
        guards = compile_output(rules, endpoint.prompt)
    late: dict[str, list[str]] = {}
    for guardrail, rule, chars in () if guards is None else guards.late_rules():
        late.setdefault(guardrail, []).append(f"{rule} ({'no bound' if chars is None else f'{chars} characters'})")
    for guardrail, lines in late.items():
        yield (
            f"{place}: guardrails.output.{guardrail}: may need more of a stream than hold_back_chars"
            f" ({rules.hold_back_chars}): {', '.join(lines)}; what passes before is checked at the"
            " end of the answer, which then fails"
        )


def _usd(nano_usd: int) -> str:
    return f"{Decimal(nano_usd) / NANO:.4f}"
