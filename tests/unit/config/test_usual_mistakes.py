"""What people write who come from other gateways, shells and documentation: each is told what to write instead."""

from __future__ import annotations

import pytest

from pg_trio.config import parse_configuration
from tests.support.config import CREDENTIAL, ENDPOINT, KEY, NOWHERE, PROJECT, PROJECT_HEAD, SOUND, mistakes_in


def notes_of(text: str) -> tuple[str, ...]:
    return parse_configuration(text, "pg.toml", NOWHERE, {}).notes


def with_url(url: str) -> str:
    return f"{CREDENTIAL}base_url = '{url}'\n{PROJECT_HEAD}{ENDPOINT}"


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

PLACEHOLDERS = (
    "$OPENAI_API_KEY",
    "${OPENAI_API_KEY}",
    "${OPENAI_API_KEY:-none}",
    "${OPENAI_API_KEY:?not set}",
    "$(OPENAI_API_KEY)",
    "$env:OPENAI_API_KEY",
    "${env:OPENAI_API_KEY}",
    "%OPENAI_API_KEY%",
    "ENV:OPENAI_API_KEY",
    "Env:OPENAI_API_KEY",
    "env/OPENAI_API_KEY",
    "env.OPENAI_API_KEY",
    "ENV['OPENAI_API_KEY']",
    "os.environ/OPENAI_API_KEY",
    "os.environ['OPENAI_API_KEY']",
    "os.environ.get('OPENAI_API_KEY')",
    "os.getenv('OPENAI_API_KEY')",
    "process.env.OPENAI_API_KEY",
    "%env(OPENAI_API_KEY)%",
    "${{ secrets.OPENAI_API_KEY }}",
    "{{ OPENAI_API_KEY }}",
    "{{ .Env.OPENAI_API_KEY }}",
    "{{ env('OPENAI_API_KEY') }}",
    "{OPENAI_API_KEY}",
    "{env.OPENAI_API_KEY}",
    "<OPENAI_API_KEY>",
)


@pytest.mark.parametrize("written", PLACEHOLDERS)
def test_placeholder_is_no_key(written: str) -> None:
    said = "credentials[0].api_key: the key is a placeholder that nothing replaces: write env:OPENAI_API_KEY"

    (mistake,) = mistakes_in(SOUND.replace(KEY, written))

    assert f"{said} for that variable" == mistake


@pytest.mark.parametrize("written", ["${OPENAI_API_KEY}", "os.environ/OPENAI_API_KEY"])
def test_placeholder_in_a_variable_is_no_key(written: str) -> None:
    (mistake,) = mistakes_in(SOUND.replace(KEY, "env:K"), {"K": written})

    assert 'environment variable "K" is a placeholder that nothing replaces: write env:OPENAI_API_KEY' in mistake


def test_placeholder_that_may_be_a_key_is_not_shown() -> None:
    (mistake,) = mistakes_in(SOUND.replace(KEY, "$abcDEF123456"))

    assert "abcDEF123456" not in mistake
    assert "write env:NAME" in mistake


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (r"\"sk-0123456789\"", "is in quotation marks"),
        ("'sk-0123456789'", "is in quotation marks"),
        ("Bearer sk-0123456789", 'begins with "Bearer "'),
        ("FILE:key.txt", "write file:PATH"),
        ("your-openai-key", "leaves to fill in"),
        ("YOUR_API_KEY", "leaves to fill in"),
        ("<your key here>", "leaves to fill in"),
        ("sk-...", "leaves to fill in"),
    ],
)
def test_key_with_something_around_it(written: str, said: str) -> None:
    (mistake,) = mistakes_in(SOUND.replace(KEY, written))

    assert said in mistake
    assert "0123456789" not in mistake


@pytest.mark.parametrize("key", ["sk-proj-A_b-C.d", "$2b$10$abc", "a$b", "env-key-1", "%41bc", "0a{b}c", "<>", "$"])
def test_keys_that_only_look_odd_are_taken(key: str) -> None:
    assert [] == mistakes_in(SOUND.replace(KEY, key))


@pytest.mark.parametrize("reference", ["env: K", " env:K", "env:K "])
def test_space_around_a_reference_is_no_part_of_it(reference: str) -> None:
    assert [] == mistakes_in(SOUND.replace(KEY, reference), {"K": KEY})


@pytest.mark.parametrize("name", ["OPENAI_APIKEY", "openai_api_key", "//OPENAI_API_KEY", "${OPENAI_API_KEY}"])
def test_variable_of_another_name_is_suggested(name: str) -> None:
    (mistake,) = mistakes_in(SOUND.replace(KEY, f"env:{name}"), {"OPENAI_API_KEY": KEY, "HOME": "/"})

    assert f'variable "{name}" is not set; did you mean "OPENAI_API_KEY"?' in mistake


# ── addresses ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("http://h:9/v1/chat/completions", "http://h:9/v1"),
        ("http://h:9/v1/chat/completions/", "http://h:9/v1"),
        ("http://h:9/v1/Chat/Completions", "http://h:9/v1"),
        ("http://h:9//v1//chat/completions", "http://h:9/v1"),
        ("http://h:9/v1/completions", "http://h:9/v1"),
        ("http://h:9/v1/chat", "http://h:9/v1"),
        ("http://h:9/v1/messages", "http://h:9/v1"),
        ("http://h:9/v1/responses?stream=true", "http://h:9/v1"),
        ("http://h:9/v1/embeddings", "http://h:9/v1"),
        ("http://h:9/chat/completions", "http://h:9"),
        ("http://h:9/openai/deployments/d/chat/completions?api-version=1", "http://h:9/openai/deployments/d"),
        ("http://h:9/v1beta/models/g:generateContent", "http://h:9/v1beta"),
        ("http://h:9/api/chat", "http://h:9/v1"),
        ("http://h:9/api/generate", "http://h:9/v1"),
        ("http://h:9/v1?key=sk-0123456789", "http://h:9/v1"),
        ("http://h:9/v1#top", "http://h:9/v1"),
        ("http://h:9//v1", "http://h:9/v1"),
    ],
)
def test_address_of_a_call_is_no_base(url: str, meant: str) -> None:
    (mistake,) = mistakes_in(with_url(url))

    assert mistake.startswith("credentials[0].base_url: ")
    assert mistake.endswith(f': write "{meant}"')
    assert "sk-" not in mistake


@pytest.mark.parametrize(
    "url", ["http://h/v1", "http://h/openai", "http://h/models", "http://h/chat", "http://h/api/v1"]
)
def test_base_urls_that_are_some(url: str) -> None:
    assert [] == mistakes_in(with_url(url))
    assert () == notes_of(with_url(url))


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://127.0.0.1:8000/"])
def test_address_without_path_is_noted(url: str) -> None:
    (note,) = notes_of(with_url(url))

    assert note.startswith(
        "credentials[0].base_url: has no path: most such servers answer at http://127.0.0.1:8000/v1,"
    )


@pytest.mark.parametrize("url", ["h:9/v1", "api.openai.com/v1", "env:BASE", "${BASE}"])
def test_address_without_scheme(url: str) -> None:
    (mistake,) = mistakes_in(with_url(url))

    assert "a base URL starts with http:// or https://" in mistake


# ── brackets and places ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("double", "place"),
    [
        ("[[projects]]", "projects"),
        ("[[credentials]]", "credentials"),
        ("[[projects.endpoints]]", "projects[0].endpoints"),
    ],
)
def test_single_brackets_for_several(double: str, place: str) -> None:
    text = SOUND.replace(double, double[1:-1]) + "temperature = 3\n"

    assert [
        f"{place}: is one table where there may be several: write {double}, in double brackets",
        "projects[0].endpoints[0].temperature: 3 is above 2",
    ] == sorted(mistakes_in(text), key=lambda line: "temperature" in line)


def test_single_brackets_everywhere_are_all_said() -> None:
    text = SOUND.replace("[[", "[").replace("]]", "]")

    assert 3 == len(mistakes_in(text))
    assert all("in double brackets" in mistake for mistake in mistakes_in(text))


def test_lone_failover_and_pattern() -> None:
    text = SOUND + "failover = { credential = 'main', model = 'm' }\n"

    said = mistakes_in(text + "[guardrails.pii_filter.custom_patterns]\nlabel = 'x'\npattern = 'y'\n")

    assert ["[[guardrails.pii_filter.custom_patterns]]", "[[projects.endpoints.failover]]"] == [
        mistake.partition("write ")[2].partition(",")[0] for mistake in said
    ]


@pytest.mark.parametrize(
    ("line", "header"),
    [
        ("[[gateway]]\nmax_messages = 3", "[gateway]"),
        ("[[server]]\nworkers = 1", "[server]"),
        ("[[guardrails.pii_filter]]\nmode = 'mask'", "[guardrails.pii_filter]"),
        ("[[providers]]\nenabled = false", "[providers.NAME]"),
    ],
)
def test_double_brackets_for_one(line: str, header: str) -> None:
    (mistake,) = mistakes_in(f"{line}\n{SOUND}")

    assert mistake.endswith(f"is a list where there is one table: write {header}, in single brackets")


@pytest.mark.parametrize("header", ["projects", "projects.endpoints"])
def test_table_that_is_there_twice(header: str) -> None:
    once = SOUND.replace(f"[[{header}]]", f"[{header}]")

    (mistake,) = mistakes_in(once + f"[{header}]\n")

    assert f"has double brackets: [[{header}]]" in mistake


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bind = '[::]:80'\n" + SOUND, "bind: unknown key; it is a setting of [server]"),
        ("[gateway]\ndrain_ms = 1\n" + SOUND, "gateway.drain_ms: unknown key; it is a setting of [server]"),
        (
            SOUND + "[projects.endpoints.guardrails.pii_filter]\ndeadline_ms = 3\n",
            "projects[0].endpoints[0].guardrails.pii_filter.deadline_ms: unknown key;"
            " it is a setting of [[projects.endpoints]]",
        ),
        (SOUND + "base_url = 'http://h/v1'\n", "projects[0].endpoints[0].base_url: unknown key; it is a setting of"
         " [[credentials]]"),
        (SOUND + "[[endpoints]]\nslug = 'b'\n", "endpoints: unknown key; it is a setting of [[projects]]"),
        (SOUND + "[pii_filter]\n", "pii_filter: unknown key; it is a setting of [guardrails] and [guardrails.output]"),
    ],
)  # fmt: skip
def test_setting_under_another_header(text: str, said: str) -> None:
    assert [said] == mistakes_in(text)


# ── what is meant ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fallbacks = []", 'fallbacks: unknown key; did you mean "failover"?'),
        ("stream = true", 'stream: unknown key; did you mean "streaming_enabled"?'),
        ("deadline_ms = '30s'", "deadline_ms: expected an integer, found a string: whole milliseconds"),
        ("failover = ['main']", "failover[0]: expected a table ({ credential = …, model = … }), found a string"),
        (
            "guardrails = { pii_filter = true }",
            "guardrails.pii_filter: expected a table ({ enabled = … }), found a boolean",
        ),
        ("input_schema = 'schemas/in.json'", 'input_schema: looks like a file: write "file:schemas/in.json"'),
    ],
)
def test_endpoint_setting_that_is_meant(line: str, said: str) -> None:
    assert [f"projects[0].endpoints[0].{said}"] == mistakes_in(f"{SOUND}{line}\n")


def test_address_in_two_settings() -> None:
    said = mistakes_in("[server]\nport = 8080\nhost = '::'\n" + SOUND)

    assert [f'server.{key}: unknown key; did you mean "bind"?' for key in ("host", "port")] == said


@pytest.mark.parametrize("folder", ["~/data", "~", "$HOME/data", "${HOME}/data"])
def test_folder_that_only_a_shell_knows(folder: str) -> None:
    (mistake,) = mistakes_in(f"[gateway]\ndata_dir = '{folder}'\n")

    assert f'gateway.data_dir: "{folder}" is taken as it is: neither ~ nor variables mean anything here' == mistake


def test_provider_in_its_own_spelling() -> None:
    (mistake,) = mistakes_in(SOUND.replace('"openai"', '"OpenAI"'))

    assert 'unknown provider "OpenAI"; did you mean "openai"?' in mistake


# ── nothing at all ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", CREDENTIAL, "projects = []"])
def test_file_without_projects_is_noted(text: str) -> None:
    (note,) = notes_of(text)

    assert note.startswith("there are no [[projects]], so there is nothing to call")


def test_project_without_endpoints_is_noted() -> None:
    empty = PROJECT_HEAD.replace(PROJECT, PROJECT.replace("1", "2")).replace("Support", "Sales")

    assert ("projects[1]: has no [[projects.endpoints]], so there is nothing to call in it",) == notes_of(SOUND + empty)
