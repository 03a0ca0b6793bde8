"""Every mistake in one report, each with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from pg_trio.config import load_settings
from pg_trio.config.mistakes import show_path
from pg_trio.domain.provider import PROVIDERS
from pg_trio.errors import ConfigError
from tests.support.config import CREDENTIAL, ENDPOINT, KEY, PROJECT, PROJECT_HEAD, SOUND, mistakes_in


def test_sound_file_has_none() -> None:
    assert [] == mistakes_in(SOUND)


def test_all_kinds_are_reported_together() -> None:
    text = f"""
        nope = 1
        [gateway]
        workers = 1
        max_messages = true
        [[credentials]]
        name = "main"
        provider = "opnai"
        api_key = "{KEY}"
        [guardrails.pii_filter]
        types = ["emale"]
        [[projects]]
        name = "Support"
        [[projects.endpoints]]
        slug = "a"
        credential = "mian"
        model = 4
        temperature = 3
        input_schema = {{ type = "objct" }}
    """

    assert [
        f'credentials[0].provider: unknown provider "opnai"; did you mean "openai"?; known are {", ".join(PROVIDERS)}',
        "gateway.max_messages: expected an integer, found a boolean",
        "gateway.workers: unknown key; it is a setting of [server]",
        'guardrails.pii_filter.types[0]: "emale" is none of "email", "ip_address", "iban", "credit_card", "ssn_us",'
        ' "phone_us", "phone_de", "phone_generic", "url_credentials", "ipv6", "mac_address", "us_passport",'
        ' "de_tax_id", "uk_nino", "fr_nir", "es_nif", "it_codice_fiscale", "crypto_wallet", "vin", "date_of_birth";'
        ' did you mean "email"?',
        "nope: unknown key",
        'projects[0].endpoints[0].credential: no credential is named "mian"; did you mean "main"?',
        "projects[0].endpoints[0].input_schema.type: 'objct' is not valid under any of the given schemas",
        "projects[0].endpoints[0].model: expected a string, found an integer",
        "projects[0].endpoints[0].temperature: 3 is above 2",
        "projects[0].uuid: missing; `uuidgen` makes one",
    ] == mistakes_in(text)


def test_wrong_item_keeps_later_numbers() -> None:
    text = f"projects = [3, {{ uuid = '{PROJECT}', name = 'x', env = 'test' }}]"

    assert [
        "projects[0]: expected a table ({ uuid = …, name = … }), found an integer",
        'projects[1].env: "test" is none of "dev", "staging", "prod"',
    ] == mistakes_in(text)


def test_items_sort_by_number() -> None:
    text = CREDENTIAL + PROJECT_HEAD + "".join(ENDPOINT.replace('"a"', f'"a{n}"') + "top_p = 2\n" for n in range(11))

    numbers = [line.partition(".top_p")[0].removeprefix("projects[0].endpoints") for line in mistakes_in(text)]

    assert [f"[{n}]" for n in range(11)] == numbers


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("temperature = -1", "temperature: -1 is below 0"),
        ("temperature = true", "temperature: expected a number, found a boolean"),
        ("temperature = nan", "temperature: not-a-number and infinity are no values here"),
        ("top_p = inf", "top_p: not-a-number and infinity are no values here"),
        ("top_p = 1.5", "top_p: 1.5 is above 1"),
        ("max_output_tokens = 0", "max_output_tokens: 0 is below 1"),
        ("max_output_tokens = 200001", "max_output_tokens: 200001 is above 200000"),
        ("max_output_tokens = 1.0", "max_output_tokens: expected an integer, found a float"),
        ("max_output_tokens = '5'", "max_output_tokens: expected an integer, found a string"),
        ("session_ttl_seconds = 59", "session_ttl_seconds: 59 is below 60"),
        ("session_ttl_seconds = 604801", "session_ttl_seconds: 604801 is above 604800"),
        ("session_max_messages = 501", "session_max_messages: 501 is above 500"),
        ("monthly_budget_usd = -0.01", "monthly_budget_usd: -0.01 is below 0"),
        ("monthly_budget_usd = 'much'", 'monthly_budget_usd: "much" is not a number'),
        ("monthly_budget_usd = 'NaN'", "monthly_budget_usd: not-a-number and infinity are no values here"),
        ("deadline_ms = 0", "deadline_ms: 0 is below 1"),
        ("hedge_after_ms = -1", "hedge_after_ms: -1 is below 0"),
        ('hedge_after = "p100"', 'hedge_after: "p100" is not a percentile from p50 to p99'),
        ('hedge_after = "p49"', 'hedge_after: "p49" is not a percentile from p50 to p99'),
        ("hedge_after = 95", "hedge_after: expected a string, found an integer"),
        ('hedge_after = "p95"\nhedge_after_ms = 0', "hedge_after: not together with hedge_after_ms"),
        (
            'reasoning_effort = "none"\nthinking_budget_tokens = 2048',
            'thinking_budget_tokens: 2048 contradicts reasoning_effort "none"',
        ),
        (
            'reasoning_effort = "high"\nthinking_budget_tokens = 0',
            'thinking_budget_tokens: 0 contradicts reasoning_effort "high"',
        ),
        ("is_active = 1", "is_active: expected a boolean, found an integer"),
        ("prompt = []", "prompt: expected a string, found a list"),
        ("failover = 'main'", "failover: expected a list, found a string"),
        ("name = '  '", "name: is empty"),
        ("uuid = 'x'", 'uuid: "x" is not a UUID'),
        ("user_prompt_template = '{{ input }}'",
         "user_prompt_template: has no {{input}}, so the user's text would be lost"),
        ("streaming_enabled = true\noutput_schema = true", "streaming_enabled: not together with output_schema"),
        ("resumable_streams = true", "resumable_streams: needs streaming_enabled"),
        ("streaming_enabled = true\nresume_bytes = 1000", "resume_bytes: 1000 is below 1024"),
        ("temprature = 1", 'temprature: unknown key; did you mean "temperature"?'),
    ],
)  # fmt: skip
def test_endpoint_setting_is_checked(line: str, mistake: str) -> None:
    assert [f"projects[0].endpoints[0].{mistake}"] == mistakes_in(f"{SOUND}{line}\n")


@pytest.mark.parametrize("slug", ["", "A", "-a", "a-", "a_b", "a" * 65, "a\\n", "ä"])
def test_slug_of_wrong_shape(slug: str) -> None:
    (mistake,) = mistakes_in(SOUND.replace('"a"', f'"{slug}"'))

    assert mistake.startswith("projects[0].endpoints[0].slug: ")
    assert "is not a slug: 1–64 of a-z" in mistake


@pytest.mark.parametrize("slug", ["chat", "v1", "ws"])
def test_slug_that_routes_use(slug: str) -> None:
    text = SOUND.replace('"a"', f'"{slug}"')

    assert [f'projects[0].endpoints[0].slug: "{slug}" is a word that the routes use'] == mistakes_in(text)


def test_slug_twice_in_a_project() -> None:
    assert ['projects[0].endpoints[1].slug: "a" belongs to projects[0].endpoints[0] already'] == mistakes_in(
        SOUND + ENDPOINT
    )


def test_slug_again_in_another_project() -> None:
    other = PROJECT_HEAD.replace("0001", "0002").replace("Support", "Sales")

    assert [] == mistakes_in(SOUND + other + ENDPOINT)


def test_project_twice() -> None:
    assert [
        'projects[1].slug: "support" belongs to projects[0] already',
        f'projects[1].uuid: "{PROJECT}" belongs to projects[0] already',
    ] == mistakes_in(SOUND + PROJECT_HEAD + ENDPOINT)


def test_credential_twice() -> None:
    assert ['credentials[1].name: "main" is the name of credentials[0] already'] == mistakes_in(CREDENTIAL + SOUND)


def test_wrong_credential_is_still_known() -> None:
    (mistake,) = mistakes_in(SOUND.replace(f'"{KEY}"', '"env:MISSING"'))

    assert 'credentials[0].api_key: environment variable "MISSING" is not set' == mistake


def test_failover_is_checked_by_item() -> None:
    text = SOUND + 'failover = [{ credential = "main", model = "x" }, { credential = "other", model = "x" }, {}]\n'

    assert [
        'projects[0].endpoints[0].failover[1].credential: no credential is named "other"',
        "projects[0].endpoints[0].failover[2].credential: missing",
        "projects[0].endpoints[0].failover[2].model: missing",
    ] == mistakes_in(text)


def test_unknown_provider_section() -> None:
    assert [
        f'providers.grok: unknown provider "grok"; did you mean "groq"?; known are {", ".join(PROVIDERS)}'
    ] == mistakes_in("[providers.grok]\nenabled = false")


def test_syntax_error_names_its_line() -> None:
    (mistake,) = mistakes_in("a = 1\nb = \n")

    assert mistake.startswith("not TOML: Invalid value (at line 2, column 5); text is written in quotation marks")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a = " + "[" * 20_000, "not usable: nested too deeply"),
        ("a = 0x" + "f" * 6_000 + "\n" + "b = " + "1" * 6_000, "not usable: a number is too long"),
        ("a = 1e99999999999999999999", "not usable: a number is too long"),
    ],
)
def test_what_python_s_parser_refuses(text: str, mistake: str) -> None:
    assert [mistake] == mistakes_in(text)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "does not exist"), (b"\xff", "is not UTF-8 (byte 0)"), (b"#" * (10 * 1024 * 1024 + 1), "is over")],
    ids=["missing", "latin", "large"],
)
def test_file_that_cannot_be_used(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "pg.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        load_settings(path, {})

    assert str(path) == caught.value.source
    assert said in caught.value.mistakes[0]


def test_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a regular file"):
        load_settings(tmp_path, {})


def test_odd_keys_are_quoted() -> None:
    assert 'a."b c"[3]."x y"' == show_path(("a", "b c", 3, "x\ny"))
