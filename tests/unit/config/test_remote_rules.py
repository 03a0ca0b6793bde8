"""`webhook` and `moderation` in the configuration: what they become, and every mistake in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pg_trio.config import parse_configuration
from pg_trio.domain.guardrails import GuardrailRules, Moderation, Webhook
from pg_trio.domain.secret import Secret
from tests.support.config import CREDENTIAL, ENDPOINT, KEY, NOWHERE, PROJECT_HEAD, mistakes_in, read
from tests.support.gateway import toml_value

URL = "http://127.0.0.1:9000/check"
SECRET = "a-secret-of-forty-letters-for-signatures"


def text(webhook: Any = None, moderation: Any = None, *, output: bool = False, more: str = "") -> str:
    """A configuration whose endpoint has these guardrails."""
    rules = {name: rule for name, rule in (("webhook", webhook), ("moderation", moderation)) if rule is not None}
    guardrails = {"output": rules} if output else rules
    return more + CREDENTIAL + PROJECT_HEAD + ENDPOINT + f"guardrails = {toml_value(guardrails)}\n"


def rules_of(configuration: str, environ: dict[str, str] | None = None, folder: Path = NOWHERE) -> GuardrailRules:
    settings = read(configuration, environ, folder)
    return next(iter(settings.projects.values())).endpoints["a"].guardrails


def notes_of(configuration: str) -> list[str]:
    return list(parse_configuration(configuration, "pg.toml", NOWHERE, {}).notes)


# ── what they become ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_defaults_close_and_see_both_phases() -> None:
    assert Webhook(url=URL, phase=("input", "output")) == rules_of(text({"url": URL})).webhook
    assert (2_000, "closed", False) == (Webhook().timeout_ms, Webhook().on_failure, Webhook().parallel)


def test_all_settings_are_taken() -> None:
    settings = {"timeout_ms": 50, "on_failure": "open", "parallel": True}
    webhook = {"url": URL, "secret": SECRET, "phase": ["output", "input", "output"], **settings}
    moderation = {"credential": "main", "model": "m", "categories": ["hate"], **settings}

    rules = rules_of(text(webhook, moderation))

    assert Webhook(url=URL, secret=Secret(SECRET), phase=("output", "input"), **settings) == rules.webhook  # type: ignore[arg-type]
    assert rules.moderation is not None
    assert rules.moderation.credential is not None
    assert ("main", "m", ("hate",)) == (
        rules.moderation.credential.name,
        rules.moderation.model,
        rules.moderation.categories,
    )


def test_output_has_its_own_rules_with_a_mode() -> None:
    configuration = text({"url": URL, "mode": "flag"}, {"credential": "main", "mode": "flag"}, output=True)

    output = rules_of(configuration).output

    assert output.webhook is not None
    assert output.moderation is not None
    assert ("flag", "flag") == (output.webhook.mode, output.moderation.mode)


def test_narrower_level_replaces_the_whole_rule() -> None:
    wider = f'[guardrails.webhook]\nurl = "{URL}"\nsecret = "{SECRET}"\non_failure = "open"\n'

    assert Webhook(url=f"{URL}/b") == rules_of(text({"url": f"{URL}/b"}, more=wider)).webhook
    assert Webhook(enabled=False) == rules_of(text({"enabled": False}, more=wider)).webhook
    assert "open" == rules_of(text(more=wider)).webhook.on_failure  # type: ignore[union-attr]


@pytest.mark.parametrize("reference", ["env:HOOK", "file:hook.key"])
def test_secret_is_looked_up(tmp_path: Path, reference: str) -> None:
    (tmp_path / "hook.key").write_text(f"{SECRET}\n")

    rules = rules_of(text({"url": URL, "secret": reference}), {"HOOK": SECRET}, tmp_path)

    assert rules.webhook is not None
    assert rules.webhook.secret is not None
    assert SECRET == rules.webhook.secret.reveal()


def test_secret_of_a_file_changes_with_it(tmp_path: Path) -> None:
    (tmp_path / "hook.key").write_text(SECRET)
    rules = rules_of(text({"url": URL, "secret": "file:hook.key"}), None, tmp_path)
    before = hash(rules)

    assert rules.webhook is not None
    assert rules.webhook.secret is not None
    assert str(tmp_path / "hook.key") == rules.webhook.secret.source
    assert before == hash(rules)


def test_moderation_s_rule_is_hashable() -> None:
    rules = rules_of(text(None, {"credential": "main"}))

    assert {rules} == {rules_of(text(None, {"credential": "main"}))}
    assert isinstance(rules.moderation, Moderation)


# ── mistakes ─────────────────────────────────────────────────────────────────────────────────────────────────────────

PLACE = "projects[0].endpoints[0].guardrails"
MISTAKES: dict[str, tuple[Any, Any, str]] = {
    "no url": ({}, None, "webhook.url: missing"),
    "no credential": (None, {}, "moderation.credential: missing"),
    "unknown credential": (None, {"credential": "mian"}, 'no credential is named "mian"; did you mean "main"?'),
    "no scheme": ({"url": "127.0.0.1:9000"}, None, "webhook.url: a webhook's URL starts with http:// or https://"),
    "variable": ({"url": "env:HOOK"}, None, "webhook.url: a webhook's URL starts with http:// or https://"),
    "password": ({"url": "http://u:p@h/"}, None, "webhook.url: a webhook's URL holds no user or password: use secret"),
    "no host": ({"url": "http:///x"}, None, "webhook.url: a webhook's URL has a host"),
    "port 0": ({"url": "http://h:0/"}, None, "and no port 0"),
    "port": ({"url": "http://h:x/"}, None, "not a URL: its host or port cannot be read"),
    "space": ({"url": "http://h/a b"}, None, "a URL is visible ASCII without spaces"),
    "fragment": ({"url": "http://h/#a"}, None, "no backslash and no fragment"),
    "odd address": ({"url": "http://300.1.1.1/"}, None, "this looks like an address and is none"),
    "long label": ({"url": f"http://{'a' * 64}.test/"}, None, "over 63 characters"),
    "no variable": ({"url": URL, "secret": "env:NO"}, None, 'webhook.secret: environment variable "NO" is not set'),
    "no file": ({"url": URL, "secret": "file:no"}, None, "webhook.secret: file "),
    "empty secret": ({"url": URL, "secret": " "}, None, "webhook.secret: the secret is empty"),
    "placeholder": ({"url": URL, "secret": "${HOOK}"}, None, "webhook.secret: "),
    "no phase": ({"url": URL, "phase": []}, None, "webhook.phase: is empty"),
    "unknown phase": ({"url": URL, "phase": ["inputs"]}, None, 'webhook.phase[0]: "inputs" is none of'),
    "no time": ({"url": URL, "timeout_ms": 0}, None, "webhook.timeout_ms: 0 is below 1"),
    "other failure": ({"url": URL, "on_failure": "close"}, None, 'webhook.on_failure: "close" is none of'),
    "mode of requests": ({"url": URL, "mode": "flag"}, None, "webhook.mode: unknown key"),
    "no categories": (None, {"credential": "main", "categories": []}, "moderation.categories: is empty"),
    "empty category": (None, {"credential": "main", "categories": [""]}, "moderation.categories[0]: "),
    "phase of moderation": (None, {"credential": "main", "phase": ["input"]}, "moderation.phase: unknown key"),
    "url of moderation": (None, {"credential": "main", "url": URL}, "moderation.url: unknown key"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_found(name: str) -> None:
    webhook, moderation, said = MISTAKES[name]

    (mistake,) = mistakes_in(text(webhook, moderation))

    assert mistake.startswith(PLACE)
    assert said in mistake


def test_phase_of_answers_is_a_mistake() -> None:
    (mistake,) = mistakes_in(text({"url": URL, "phase": ["output"]}, output=True))

    assert mistake.startswith(f"{PLACE}.output.webhook.phase: unknown key")


def test_switched_off_rule_needs_nothing() -> None:
    assert [] == mistakes_in(text({"enabled": False}, {"enabled": False}))


def test_mistakes_never_show_secret_or_url() -> None:
    said = mistakes_in(text({"url": f"http://user:{SECRET}@host/?key={KEY}", "secret": SECRET, "timeout_ms": SECRET}))

    assert 2 == len(said)
    assert SECRET not in str(said)
    assert KEY not in str(said)


# ── notes ────────────────────────────────────────────────────────────────────────────────────────────────────────────

NOTES: dict[str, tuple[Any, Any, str | None]] = {
    "own network": ({"url": "http://10.1.2.3/"}, None, None),
    "name of the own network": ({"url": "http://guard:9000/"}, None, None),
    "encrypted": ({"url": "https://guard.example.com/"}, None, None),
    "in the open": ({"url": "http://guard.example.com/"}, None, "without encryption"),
    "public address": ({"url": "http://1.1.1.1/"}, None, "without encryption"),
    "short secret": ({"url": URL, "secret": "short-one"}, None, "is shorter than 16 characters"),
    "answers beside": ({"url": URL, "phase": ["output"], "parallel": True}, None, "parallel: has no effect"),
    "requests beside": ({"url": URL, "parallel": True}, None, None),
    "unknown category": (None, {"credential": "main", "categories": ["violense"]}, 'did you mean "violence"?'),
    "known category": (None, {"credential": "main", "categories": ["self-harm/intent"]}, None),
}


@pytest.mark.parametrize("name", NOTES)
def test_note_is_told(name: str) -> None:
    webhook, moderation, said = NOTES[name]

    notes = notes_of(text(webhook, moderation))

    assert (said is None) == (notes == [])
    assert (said or "") in "".join(notes)


def test_wire_without_moderations_is_noted() -> None:
    claude = '[[credentials]]\nname = "claude"\nprovider = "anthropic"\napi_key = "sk-ant-0123456789abcdef"\n'

    (note,) = notes_of(text(None, {"credential": "claude"}, more=claude))

    assert "anthropic has no moderations of OpenAI's kind" in note


def test_missing_model_of_mistral_is_noted() -> None:
    mistral = '[[credentials]]\nname = "mistral"\nprovider = "mistral"\napi_key = "0123456789abcdef"\n'

    (note,) = notes_of(text(None, {"credential": "mistral"}, more=mistral))

    assert "mistral refuses a moderation without a model" in note
    assert [] == notes_of(text(None, {"credential": "mistral", "model": "mistral-moderation-latest"}, more=mistral))


def test_categories_of_other_servers_are_not_noted() -> None:
    other = '[[credentials]]\nname = "own"\nprovider = "openai"\napi_key = "sk-0123456789abcdef"\nbase_url = "http://10.0.0.1/v1"\n'

    assert [] == notes_of(text(None, {"credential": "own", "categories": ["toxicity"]}, more=other))
