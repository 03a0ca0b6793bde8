"""Credentials: where keys come from, which addresses are taken, and that a key never shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from pg_trio.domain.project import Credential
from tests.support.config import CREDENTIAL, KEY, SOUND, mistakes_in, read

KEYLESS = '[[credentials]]\nname = "main"\nprovider = "ollama"\n'


def credential(text: str, environ: dict[str, str] | None = None, folder: Path = Path()) -> Credential:
    return read(text, environ, folder).credentials["main"]


def test_key_itself() -> None:
    key = credential(CREDENTIAL).api_key

    assert key is not None
    assert KEY == key.reveal()


def test_key_from_the_environment() -> None:
    key = credential(CREDENTIAL.replace(KEY, "env:MY_KEY"), {"MY_KEY": " secret-1\n"}).api_key

    assert key is not None
    assert "secret-1" == key.reveal()


def test_key_from_a_file_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret-2\n")

    key = credential(CREDENTIAL.replace(KEY, "file:key"), folder=tmp_path).api_key

    assert key is not None
    assert "secret-2" == key.reveal()


@pytest.mark.parametrize(
    ("key", "environ", "said"),
    [
        ("env:K", {}, 'environment variable "K" is not set'),
        ("env:K", {"K": " "}, 'environment variable "K" is empty'),
        ("env:K", {"K": "a\nX-Evil: 1"}, 'environment variable "K" holds characters that an HTTP header cannot carry'),
        ("env:K", {"K": "schlüssel"}, 'environment variable "K" holds characters that an HTTP header cannot carry'),
        ("file:none", {}, 'file "/nonexistent/none" does not exist'),
        ("", {}, "the key is empty"),
    ],
)
def test_key_that_is_none(key: str, environ: dict[str, str], said: str) -> None:
    assert [f"credentials[0].api_key: {said}"] == mistakes_in(CREDENTIAL.replace(KEY, key), environ)


def test_key_missing_where_one_is_needed() -> None:
    text = KEYLESS.replace("ollama", "groq")

    assert ["credentials[0].api_key: missing: groq needs one (env:NAME, file:PATH or the key itself)"] == mistakes_in(
        text
    )


def test_key_of_wrong_type_is_said_once() -> None:
    text = CREDENTIAL.replace(f'"{KEY}"', "12345678")

    assert ["credentials[0].api_key: expected a string, found an integer"] == mistakes_in(text)


def test_calls_at_once_are_limited() -> None:
    limited = credential(CREDENTIAL + "max_concurrent = 8\nslot_wait_ms = 50\n")

    assert (8, 100, 50) == (limited.max_concurrent, limited.max_waiting, limited.slot_wait_ms)


def test_line_without_limit_is_a_mistake() -> None:
    said = mistakes_in(CREDENTIAL + "max_waiting = 0\nslot_wait_ms = 50\n")

    assert [
        "credentials[0].max_waiting: only together with max_concurrent",
        "credentials[0].slot_wait_ms: only together with max_concurrent",
    ] == said


def test_key_shows_nowhere() -> None:
    assert KEY not in repr(read(SOUND))


def test_key_pasted_elsewhere_is_masked() -> None:
    odd_key = "an.odd.key.without.a.shape"
    text = CREDENTIAL.replace(KEY, odd_key) + f'[gateway]\n"{odd_key}" = 1\n[server]\nbind = "{odd_key}"\n'

    said = mistakes_in(text)

    assert 2 == len(said)
    assert odd_key not in "".join(said)


def test_ollama_s_default_address() -> None:
    found = credential(KEYLESS)

    assert ("http://localhost:11434/v1", True) == (found.base_url, found.allow_private_addresses)


def test_ollama_s_address_from_the_environment() -> None:
    found = credential(KEYLESS, {"OLLAMA_BASE_URL": "http://gpu.example:1/v1/"})

    assert ("http://gpu.example:1/v1", False) == (found.base_url, found.allow_private_addresses)


def test_ollama_s_variable_is_checked() -> None:
    (mistake,) = mistakes_in(KEYLESS, {"OLLAMA_BASE_URL": "gpu:1"})

    assert mistake.startswith("credentials[0].base_url: $OLLAMA_BASE_URL: a base URL starts with http:// or https://")


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("http://localhost:9/v1", True),
        ("http://127.0.0.1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:80", True),
        ("http://10.0.0.1", True),
        ("http://172.31.0.1", True),
        ("http://172.15.0.1", False),
        ("http://172.32.0.1", False),
        ("http://192.168.1.1", True),
        ("http://[fd12::1]", True),
        ("http://[::ffff:10.0.0.1]", True),
        ("http://169.254.169.254", False),
        ("http://[fe80::1]", False),
        ("http://[fd00:ec2::254]", False),
        ("http://0.0.0.0", False),
        ("http://8.8.8.8", False),
        ("http://localhost.example", False),
        ("http://127.1", True),
        ("http://0x7f000001", True),
        ("http://2130706433", True),
        ("http://0300.0250.1.1", True),
        ("http://[::ffff:127.0.0.1]", True),
        ("http://[64:ff9b::7f00:1]", True),
        ("http://[::ffff:169.254.169.254]", False),
        ("http://2852039166", False),
        ("https://api.example/v1", False),
    ],
)
def test_private_addresses_by_what_the_url_says(url: str, private: bool) -> None:
    assert private == credential(f'{KEYLESS}base_url = "{url}"').allow_private_addresses


@pytest.mark.parametrize("host", ["169.254.169.254", "127.0.0.1"])
@pytest.mark.parametrize("allowed", [True, False])
def test_private_addresses_by_decree(allowed: bool, host: str) -> None:
    text = f'{KEYLESS}base_url = "http://{host}"\nallow_private_addresses = {str(allowed).lower()}'

    assert allowed == credential(text).allow_private_addresses


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example",
        "ftp://api.example",
        "http://",
        "http:///v1",
        "http://user:hunter2hunter2@api.example",
        "http://@api.example",
        "http://api.example?x=1",
        "http://api.example#x",
        "http://api.example:0",
        "http://api.example:99999",
        "http://api.example:x",
        "http://[::1",
        "http://api.exa mple",
        "http://api.\\texample",
        "http://äpi.example",
        "http://api.example\\\\@evil.example",
        "http://api.example/v1\\\\..",
        "http://a<b>.example",
        "http://256.1.1.1",
        "http://1.2.3.4.5",
        "http://0x",
        "http://a..example",
        f"http://{'a' * 64}.example",
        "http://[fe80::1%25eth0]",
    ],
)
def test_address_that_is_none(url: str) -> None:
    (mistake,) = mistakes_in(f'{KEYLESS}base_url = "{url}"')

    assert mistake.startswith("credentials[0].base_url: ")
    assert "hunter2" not in mistake


def test_trailing_slashes_are_dropped() -> None:
    assert "http://api.example/v1" == credential(f'{KEYLESS}base_url = "http://api.example/v1//"').base_url


def test_provider_switched_off() -> None:
    settings = read("[providers.groq]\nenabled = false\n[providers.openai]\nenabled = true\n[providers.ollama]\n")

    assert frozenset({"groq"}) == settings.disabled_providers


# ── what only the httpx transport has ────────────────────────────────────────────────────────────────────────────────

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n"
PRIVATE_KEY = "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n"


def over_httpx(*lines: str) -> str:
    return CREDENTIAL + 'transport = "httpx"\n' + "".join(f"{line}\n" for line in lines)


def test_httpx_options_from_files_and_environment(tmp_path: Path) -> None:
    (tmp_path / "me.pem").write_text(CERTIFICATE)
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    lines = ["client_certificate = 'file:me.pem'", "client_key = 'env:K'", "ca_file = 'file:ca.pem'"]

    options = credential(
        over_httpx(*lines, "http2 = false", "proxy = 'env:P'"),
        {"K": PRIVATE_KEY, "P": "http://me:pa55@proxy.example:3128"},
        tmp_path,
    ).httpx

    assert options is not None
    assert options.key_pem is not None
    assert options.proxy is not None
    assert (CERTIFICATE, CERTIFICATE, PRIVATE_KEY) == (
        options.certificate_pem,
        options.ca_pem,
        options.key_pem.reveal(),
    )
    assert ("http://me:pa55@proxy.example:3128", False) == (options.proxy.reveal(), options.http2)
    assert not any(secret in repr(options) for secret in ("pa55", "c2VjcmV0"))


def test_proxy_pasted_elsewhere_is_masked() -> None:
    proxy = "http://me:pa55word@p.example"

    said = mistakes_in(over_httpx(f'proxy = "{proxy}"') + f'[server]\nbind = "{proxy}"\n')

    assert 1 == len(said)
    assert "pa55word" not in said[0]


def test_http2_unless_switched_off() -> None:
    options = credential(over_httpx("proxy = 'http://p.example:1'")).httpx

    assert options is not None
    assert options.http2


def test_no_options_share_one_transport() -> None:
    plain, own = credential(over_httpx()), credential(over_httpx("http2 = false"))

    assert (None, "httpx") == (plain.httpx, plain.carrier)
    assert "httpx of main" == own.carrier


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CREDENTIAL + "http2 = false\n", 'http2: only with transport = "httpx"'),
        (CREDENTIAL + "proxy = 'http://p.example:1'\n", 'proxy: only with transport = "httpx"'),
        (CREDENTIAL + "ca_file = 'file:none'\n", 'ca_file: only with transport = "httpx"'),
        (over_httpx("prewarm_connections = 2"), 'prewarm_connections: only with transport = "direct"'),
        (over_httpx("client_key = 'env:K'"), "client_key: only together with client_certificate"),
        (over_httpx("ca_file = 'ca.pem'"), "ca_file: write file:PATH or env:NAME"),
        (over_httpx("ca_file = 'env:K'"), 'ca_file: environment variable "K" holds no CERTIFICATE in PEM form'),
        (over_httpx("ca_file = 'env:NONE'"), 'ca_file: environment variable "NONE" is not set'),
        (
            over_httpx("proxy = 'socks5://me:pa55@p.example'"),
            "proxy: a proxy is http://HOST:PORT or https://HOST:PORT, with USER:PASSWORD@ before it if need be",
        ),
    ],
)
def test_httpx_option_that_is_none(text: str, said: str) -> None:
    assert [f"credentials[0].{said}"] == mistakes_in(text, {"K": PRIVATE_KEY})
