"""`[[projects.providers]]`: credentials that a wrapper opens to its clients."""

from __future__ import annotations

from uuid import UUID

import pytest

from pg_trio.domain.project import Candidate
from tests.support.config import CREDENTIAL, PROJECT, PROJECT_HEAD, SOUND, mistakes_in, read

WRAPPER = CREDENTIAL + PROJECT_HEAD + 'project_type = "ai_wrapper"\n'
ENTRY = '[[projects.providers]]\ncredential = "main"\n'


def test_entry_has_the_settings_of_an_endpoint() -> None:
    settings = read(WRAPPER + ENTRY + 'models = ["gpt-4o*"]\nmax_output_tokens = 9\nrate_limit_per_minute = 5\n')

    (entry,) = settings.projects[UUID(PROJECT)].providers
    endpoint = entry.endpoint_for("gpt-4o-mini")
    limits = endpoint.max_output_tokens, endpoint.rate_limit_per_minute
    assert (("gpt-4o*",), (9, 5), True) == (entry.models, limits, endpoint.streaming_enabled)
    assert Candidate(settings.credentials["main"], "gpt-4o-mini") == endpoint.candidates[0]
    assert ("openai:gpt-4o-mini", entry.endpoint.uuid) == (endpoint.slug, endpoint.uuid)


def test_entries_of_one_credential_have_limits_of_their_own() -> None:
    settings = read(WRAPPER + ENTRY + 'models = ["a"]\n' + ENTRY)

    first, second = settings.projects[UUID(PROJECT)].providers
    assert first.endpoint.uuid != second.endpoint.uuid


def test_model_has_its_own_price() -> None:
    price = '[[prices]]\nprovider = "openai"\nmodel = "a*"\ninput_usd_per_1m = 1\noutput_usd_per_1m = 2\n'
    base = WRAPPER.replace("api_key", 'base_url = "http://127.0.0.1:1"\napi_key')

    (entry,) = read(price + base + ENTRY).projects[UUID(PROJECT)].providers

    assert ["prices[0]", None] == [
        price and price.source for model in ("ab", "b") for price in entry.endpoint_for(model).prices
    ]


def test_wrapper_passes_unknown_fields_unless_it_says_no() -> None:
    endpoint = '[[projects.endpoints]]\nslug = "a"\ncredential = "main"\nmodel = "m"\n'
    other = endpoint.replace('"a"', '"b"') + "pass_unknown_fields = false\n"

    project = read(WRAPPER + endpoint + other + ENTRY).projects[UUID(PROJECT)]
    gateway = read(SOUND).projects[UUID(PROJECT)]

    assert [True, False] == [each.pass_unknown_fields for each in project.endpoints.values()]
    assert project.providers[0].endpoint.pass_unknown_fields
    assert not gateway.endpoints["a"].pass_unknown_fields


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (SOUND + ENTRY, "projects[0].providers: only a project of the type ai_wrapper opens credentials"),
        (WRAPPER + ENTRY.replace("main", "mian"), "no credential is named"),
        (WRAPPER + ENTRY + 'slug = "x"\n', "slug"),
        (WRAPPER + ENTRY + 'model = "x"\n', "model"),
        (WRAPPER + ENTRY + 'model_names = ["x"]\n', "model_names"),
        (WRAPPER + ENTRY + 'models = [""]\n', "models[0]"),
        (WRAPPER + ENTRY + 'deadline_ms = "soon"\n', "deadline_ms"),
        (WRAPPER + "[[projects.providers]]\n", "credential"),
    ],
)
def test_mistakes_are_told(text: str, mistake: str) -> None:
    (said,) = mistakes_in(text)

    assert mistake in said
