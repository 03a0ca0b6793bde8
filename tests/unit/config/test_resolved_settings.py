"""A sound configuration becomes exactly these values."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid5

import pytest

from pg_trio.config import guardrail_rules, load_settings, parse_configuration
from pg_trio.config.settings import GatewaySettings, ServerSettings, UpstreamSettings
from pg_trio.domain.guardrails import (
    ContentLength,
    CustomPattern,
    GuardrailRules,
    KeywordBlocklist,
    PiiFilter,
    PromptInjection,
)
from pg_trio.domain.project import Endpoint, Project
from tests.support.config import CREDENTIAL, ENDPOINT, NOWHERE, PROJECT, PROJECT_HEAD, SOUND, mistakes_in, read


def project(text: str) -> Project:
    return read(text).projects[UUID(PROJECT)]


def endpoint(lines: str = "", folder: Path = NOWHERE) -> Endpoint:
    return read(f"{SOUND}{lines}\n", folder=folder).projects[UUID(PROJECT)].endpoints["a"]


def test_empty_file_has_every_default() -> None:
    settings = read("")

    assert GatewaySettings(data_dir=NOWHERE / "data") == settings.gateway
    assert (UpstreamSettings(), ServerSettings()) == (settings.upstream, settings.server)
    assert ({}, {}, frozenset()) == (settings.credentials, settings.projects, settings.disabled_providers)


def test_data_dir_is_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "pg.toml"
    path.write_text('[gateway]\ndata_dir = "state"\n')

    assert tmp_path / "state" == load_settings(path, {}).gateway.data_dir


def test_data_dir_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pg.toml").write_text("")
    monkeypatch.chdir(tmp_path)

    data_dir = load_settings(Path("pg.toml"), {}).gateway.data_dir

    # The path keeps its meaning if the working directory changes later.
    assert tmp_path / "data" == data_dir


def test_renamed_endpoint_is_the_same_one() -> None:
    """Its budget, its limits and its rows go by its identifier."""
    assert uuid5(UUID(PROJECT), "a") == endpoint('name = "Another"').uuid


def test_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "pg.toml"
    path.write_bytes(b"\xef\xbb\xbf[server]\r\nworkers = 2\r\n")

    assert 2 == load_settings(path, {}).server.workers


def test_endpoint_s_own_defaults() -> None:
    found = endpoint()

    assert ("a", "a", True, 120_000) == (found.slug, found.name, found.is_active, found.deadline_ms)
    assert uuid5(UUID(PROJECT), "a") == found.uuid
    assert [("main", "gpt")] == [(candidate.credential.name, candidate.model) for candidate in found.candidates]


def test_failover_follows_in_order() -> None:
    found = endpoint('failover = [{ credential = "main", model = "x" }, { credential = "main", model = "y" }]')

    assert ["gpt", "x", "y"] == [candidate.model for candidate in found.candidates]


def test_given_settings_are_kept() -> None:
    found = endpoint('name = "A"\ntemperature = 1\ntop_p = 0.5\ndeadline_ms = 800\nis_active = false\nprompt = ""')

    assert ("A", 1.0, 0.5, 800, False, "") == (
        found.name,
        found.temperature,
        found.top_p,
        found.deadline_ms,
        found.is_active,
        found.prompt,
    )
    assert isinstance(found.temperature, float)


@pytest.mark.parametrize("written", ["0.1", '"0.1"'])
def test_money_is_exact(written: str) -> None:
    assert Decimal("0.1") == endpoint(f"monthly_budget_usd = {written}").monthly_budget_usd


@pytest.mark.parametrize(
    ("name", "slug"),
    [("Support", "support"), ("  A & B  ", "a-b"), ("支援", "project-6f1c0000"), ("x" * 63 + " y", "x" * 63)],
)
def test_project_slug_from_its_name(name: str, slug: str) -> None:
    assert slug == project(PROJECT_HEAD.replace("Support", name)).slug


def test_metadata_is_json() -> None:
    found = project(f"{PROJECT_HEAD}metadata = {{ a = 0.5, b = [1, {{ c = true }}] }}")

    assert {"a": 0.5, "b": [1, {"c": True}]} == found.metadata
    assert isinstance(found.metadata["a"], float)


def test_metadata_without_dates() -> None:
    assert ["projects[0].metadata.a[0]: JSON has no type for a date"] == mistakes_in(
        f"{PROJECT_HEAD}metadata = {{ a = [2026-11-23] }}"
    )


def test_narrowest_rule_replaces_whole_rule() -> None:
    text = (
        CREDENTIAL
        + '[guardrails.pii_filter]\nmode = "block"\ntypes = ["email"]\n'
        + '[guardrails.prompt_injection]\n[guardrails.keyword_blocklist]\nwords = ["x"]\n'
        + PROJECT_HEAD
        + '[projects.guardrails.keyword_blocklist]\nwords = ["Y"]\n'
        + '[projects.guardrails.pii_filter]\ncustom_patterns = [{ label = "T", pattern = "T-[0-9]+" }]\n'
        + ENDPOINT
        + "[projects.endpoints.guardrails.keyword_blocklist]\nenabled = false\n"
        + "[projects.endpoints.guardrails.content_length]\nmax = 5\n"
    )

    rules = project(text).endpoints["a"].guardrails

    assert (
        GuardrailRules(
            pii_filter=PiiFilter(custom_patterns=(CustomPattern("T", "T-[0-9]+"),)),
            prompt_injection=PromptInjection(),
            keyword_blocklist=KeywordBlocklist(enabled=False),
            content_length=ContentLength(max=5),
        )
        == rules
    )


def test_no_types_is_not_all_types() -> None:
    rules = endpoint("guardrails.pii_filter.types = []").guardrails

    assert rules.pii_filter is not None
    assert () == rules.pii_filter.types


@pytest.mark.parametrize(
    ("rule", "mistake"),
    [
        ("content_length = { min = 5, max = 4 }", "content_length.min: 5 is above max (4)"),
        ("content_length = { min = -1 }", "content_length.min: -1 is below 0"),
        ("keyword_blocklist = { words = [' '] }", "keyword_blocklist.words[0]: is empty"),
        ("keyword_blocklist = { words = 'abc' }", "keyword_blocklist.words: expected a list, found a string"),
        ("prompt_injection = { mode = 'mask' }", 'prompt_injection.mode: "mask" is none of "block"'),
        ("pii = {}", "pii: unknown key"),
        ("pii_filtr = {}", 'pii_filtr: unknown key; did you mean "pii_filter"?'),
        ("pii_filter.custom_patterns = [{ label = 'x', pattern = '(?=a)' }]",
         "pii_filter.custom_patterns[0].pattern: not a pattern in RE2 syntax: invalid perl operator: (?="),
        ("pii_filter.custom_patterns = [{ label = 'x', pattern = 'a*' }]",
         "pii_filter.custom_patterns[0].pattern: the pattern matches empty text, so it would match everywhere"),
        ("pii_filter.custom_patterns = [{ label = '', pattern = 'a' }]",
         "pii_filter.custom_patterns[0].label: is empty"),
    ],
)  # fmt: skip
def test_rule_is_checked(rule: str, mistake: str) -> None:
    assert [f"projects[0].endpoints[0].guardrails.{mistake}"] == mistakes_in(f"{SOUND}guardrails.{rule}\n")


def test_keywords_of_all_lists_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guardrail_rules, "MAX_KEYWORDS", 4)
    same = "guardrails.keyword_blocklist.words = ['a', 'b', 'c']\n"
    second = f"guardrails.output.keyword_blocklist.words = ['a', 'b', 'c']\n{same}"

    more = "guardrails.output.keyword_blocklist.words = ['d', 'e']\n" + same

    assert [] == mistakes_in(SOUND + second)
    place = "projects[0].endpoints[0].guardrails.output.keyword_blocklist.words"
    assert [f"{place}: more than 4 words in all different lists together"] == mistakes_in(SOUND + more)


def test_more_labels_than_places_are_a_mistake() -> None:
    patterns = ", ".join(f"{{ label = 'L{number}', pattern = 'x' }}" for number in range(4_091))

    found = mistakes_in(f"{SOUND}guardrails.pii_filter.custom_patterns = [{patterns}]\n")

    assert ["projects[0].endpoints[0].guardrails.pii_filter.custom_patterns: more than 4090 labels"] == found


@pytest.mark.parametrize(
    ("line", "noted"),
    [
        ("session_ttl_seconds = 60", ["projects[0].endpoints[0].session_ttl_seconds"]),
        (
            "sessions_enabled = false\nsession_max_messages = 9\nsession_max_tokens = 9",
            ["projects[0].endpoints[0].session_max_messages", "projects[0].endpoints[0].session_max_tokens"],
        ),
        ("hedge_after_ms = 0", ["projects[0].endpoints[0].hedge_after_ms"]),
        ('hedge_after = "p95"\nfailover = []', ["projects[0].endpoints[0].hedge_after"]),
        ("hedge_tools = true", ["projects[0].endpoints[0].hedge_tools"]),
        ("monthly_budget_usd = 5", ["projects[0].endpoints[0].monthly_budget_usd"]),
        ("idle_timeout_ms = 9", ["projects[0].endpoints[0].idle_timeout_ms"]),
        ('on_stream_failure = "restart"\nstreaming_enabled = true', ["projects[0].endpoints[0].on_stream_failure"]),
        ("monthly_budget_usd = 5\nestimated_cost_per_1k_tokens_usd = 0", []),
        ('on_stream_failure = "error"', []),
        (
            'streaming_enabled = true\nhedge_after_ms = 0\nfailover = [{ credential = "main", model = "m" }]\n'
            "hedge_tools = true\nsessions_enabled = true\nsession_ttl_seconds = 60\nidle_timeout_ms = 9",
            [],
        ),
    ],
)
def test_what_has_no_effect_is_said(line: str, noted: list[str]) -> None:
    notes = parse_configuration(f"{SOUND}{line}\n", "pg.toml", NOWHERE, {}).notes

    assert noted == [note.partition(":")[0] for note in notes]


def test_environment_wins_over_the_file() -> None:
    settings = read("[server]\nworkers = 2\n", {"PG_TRIO_SERVER__WORKERS": "3", "PG_TRIO_GATEWAY__DATA_DIR": "/var/x"})

    assert (3, Path("/var/x")) == (settings.server.workers, settings.gateway.data_dir)


def test_environment_is_checked_like_the_file() -> None:
    environ = {
        "PG_TRIO_SERVER__WORKERS": "0",
        "PG_TRIO_SERVER__WORKER": "1",
        "PG_TRIO_SERVER__BIND": "x:99999",
        "PG_TRIO_GATEWAY__MAX_MESSAGES": "1_0",
        "PG_TRIO_PROJECTS__X": "1",
        "PG_TRIO_CONFIG": "no section, no setting",
        "OTHER__THING": "not ours",
    }

    assert [
        'PG_TRIO_GATEWAY__MAX_MESSAGES: expected an integer, found "1_0"',
        "PG_TRIO_PROJECTS__X: no section of that name is set from the environment",
        'PG_TRIO_SERVER__BIND: "x:99999" is not HOST:PORT, such as 127.0.0.1:8080',
        'PG_TRIO_SERVER__WORKER: unknown setting; did you mean "workers"?',
        "PG_TRIO_SERVER__WORKERS: 0 is below 1",
    ] == mistakes_in("", environ)


@pytest.mark.parametrize("network", ["10.0.0.0/8", "192.0.2.1", "::1", "fd00::/8", "0.0.0.0/0"])
def test_proxies_are_networks_and_addresses(network: str) -> None:
    assert [network] == read(f'[server]\ntrusted_proxies = ["{network}"]\n').server.trusted_proxies


def test_list_from_the_environment_has_commas() -> None:
    settings = read("", {"PG_TRIO_SERVER__TRUSTED_PROXIES": "10.0.0.0/8, ::1,"})

    assert ["10.0.0.0/8", "::1"] == settings.server.trusted_proxies


@pytest.mark.parametrize(
    ("value", "mistake"),
    [
        ('["10.0.0.1/8"]', '"10.0.0.1/8" is an address in a network: write 10.0.0.0/8, or the address alone'),
        ('["10.0.0.0/33"]', '"10.0.0.0/33" is not a network (10.0.0.0/8, fd00::/8) or an address'),
        ('["nginx"]', '"nginx" is not a network (10.0.0.0/8, fd00::/8) or an address'),
        ("[5]", "expected a string, found an integer"),
    ],
)
def test_wrong_proxy_is_a_mistake(value: str, mistake: str) -> None:
    assert [f"server.trusted_proxies[0]: {mistake}"] == mistakes_in(f"[server]\ntrusted_proxies = {value}\n")


@pytest.mark.parametrize("slug", ["streams", "client-tokens", "mcp", "v1", "proxy", "control", "ws", "admin"])
def test_routes_words_are_no_slugs(slug: str) -> None:
    (mistake,) = mistakes_in(SOUND.replace('slug = "a"', f'slug = "{slug}"'))

    assert slug in mistake


@pytest.mark.parametrize("stray", ["\r", " ", "\t", "\r\n", "\u00a0"])
def test_environment_is_read_without_stray_space(stray: str) -> None:
    values = {"GATEWAY__TIMEZONE": "UTC", "SERVER__WORKERS": "4", "SERVER__BIND": "[::]:80", "GATEWAY__DATA_DIR": "d"}

    settings = read("", {f"PG_TRIO_{name}": f"{value}{stray}" for name, value in values.items()})

    assert ("UTC", 4, "[::]:80") == (settings.gateway.timezone, settings.server.workers, settings.server.bind)
    assert "d" == settings.gateway.data_dir.name


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Europe/\rBerlin", r'"Europe/\rBerlin"'),
        ("Europe /Berlin", '"Europe /Berlin"'),
        ("\ufeffUTC", r'"\ufeffUTC"'),
        ("UTC\u200b", r'"UTC\u200b"'),
        ('"UTC"', '""UTC""'),
    ],
)
def test_what_is_unseen_in_a_value_is_shown(value: str, shown: str) -> None:
    (mistake,) = mistakes_in("", {"PG_TRIO_GATEWAY__TIMEZONE": value})

    assert mistake.startswith(f"PG_TRIO_GATEWAY__TIMEZONE: {shown} is not")


def test_setting_with_one_underscore_is_noted() -> None:
    environ = {
        "PG_TRIO_SERVER_WORKERS": "4",
        # What Kubernetes sets for a service called pg-trio.
        "PG_TRIO_PORT": "tcp://10.0.0.1:80",
        "PG_TRIO_SERVICE_HOST": "10.0.0.1",
    }

    notes = parse_configuration(SOUND, "pg.toml", NOWHERE, environ).notes

    assert (
        "PG_TRIO_SERVER_WORKERS: is not read; the setting is PG_TRIO_SERVER__WORKERS, with two underscores",
    ) == notes


def test_observe_is_read_from_the_environment() -> None:
    environ = {
        "PG_TRIO_OBSERVE__METRICS_PUBLIC": "True",
        "PG_TRIO_OBSERVE__TRACE_RATIO": "0.25",
        "PG_TRIO_OBSERVE__KEEP_ALWAYS": "error, hedged",
        "PG_TRIO_OBSERVE__OTLP_ENDPOINT": "http://collector:4318",
    }

    observe = parse_configuration("", "test.toml", Path(), environ).settings.observe

    read_back = observe.metrics_public, observe.trace_ratio, observe.otlp_endpoint
    assert (True, 0.25, "http://collector:4318") == read_back
    assert ["error", "hedged"] == observe.keep_always


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("trace_ratio = 1.5", "observe.trace_ratio: 1.5 is above 1"),
        ("trace_ratio = -1", "observe.trace_ratio: -1 is below 0"),
        ('otlp_endpoint = "collector:4318"', "is not a URL such as http://127.0.0.1:4318"),
        ('otlp_endpoint = "http://me:secret@collector"', "is not a URL such as http://127.0.0.1:4318"),
        ('keep_always = ["slow"]', 'is none of "error", "deadline", "hedged"'),
        ('metrics = "yes"', "expected a boolean"),
    ],
)
def test_mistakes_of_observe(line: str, mistake: str) -> None:
    assert mistake in "\n".join(mistakes_in(f"[observe]\n{line}\n"))
