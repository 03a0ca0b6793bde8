"""What a credential adds to its calls, and a key in a file that changes; none of it ever shows."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pg_trio.config import read_configuration
from pg_trio.config.key_file import CHECK_EVERY_S, KeyFile, SchemedKeyFile
from pg_trio.domain.chat import Message, Prompt
from pg_trio.domain.embeddings import EmbeddingRequest
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.secret import mask_secrets
from pg_trio.domain.upstream import WireRequest
from pg_trio.providers import adapter_for, embeddings_for
from tests.support.config import ENDPOINT, PROJECT_HEAD, mistakes_in, read

HEAD = '[[credentials]]\nname = "main"\nprovider = "openai_compatible"\nbase_url = "https://llm.example.com/v1"\n'


def credential(more: str, environ: dict[str, str] | None = None, folder: Path = Path()) -> Credential:
    return read(HEAD + more, environ, folder).credentials["main"]


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("search", "search"),
        (" two words ", "two words"),
        ("env:TOKEN", "tok-0123456789"),
        ("Bearer env:TOKEN", "Bearer tok-0123456789"),
        ("Token  env:TOKEN", "Token tok-0123456789"),
        ("file:token", "tok-of-file"),
        ("Basic file:token", "Basic tok-of-file"),
        ("Bearer tok-in-the-file", "Bearer tok-in-the-file"),
    ],
)
def test_values(value: str, meant: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("tok-of-file\n")

    found = credential(f'headers = {{X-A = "{value}"}}\n', {"TOKEN": "tok-0123456789"}, tmp_path)

    assert [("X-A", meant)] == [(name, secret.reveal()) for name, secret in found.headers]
    assert meant not in repr(found)


@pytest.mark.parametrize(
    ("line", "where", "said"),
    [
        ('headers = {X-A = "env:NONE"}', "headers.X-A", 'environment variable "NONE" is not set'),
        ('headers = {X-A = "Bearer env:NONE"}', "headers.X-A", 'environment variable "NONE" is not set'),
        ('headers = {X-A = "Bearer ${TOKEN}"}', "headers.X-A", "the value is a placeholder that nothing replaces"),
        ('headers = {X-A = "env:BEARER"}', "headers.X-A", 'environment variable "BEARER" begins with "Bearer "'),
        ('headers = {X-A = " "}', "headers.X-A", "the value is empty"),
        ('headers = {X-A = "a\\nX-B: c"}', "headers.X-A", "the value holds characters that an HTTP header"),
        ('headers = {X-A = "ä"}', "headers.X-A", "the value holds characters that an HTTP header"),
        ("headers = {X-A = 1}", "headers.X-A", "expected a string, found an integer"),
        ('headers = {"X A" = "b"}', "headers", '"X A" is not a header'),
        ('headers = {"X:" = "b"}', "headers", '"X:" is not a header'),
        ('headers = {authorization = "b"}', "headers", '"authorization" carries the key: use api_key'),
        ('headers = {Content-Type = "b"}', "headers", '"Content-Type" is set by pg_trio itself'),
        ('headers = {HOST = "b"}', "headers", '"HOST" is set by pg_trio itself'),
        ('headers = {X-A = "b", x-a = "c"}', "headers", '"x-a" is there twice'),
        ('query = {"a b" = "c"}', "query", '"a b" is not a parameter'),
        ('query = {a = "env:NONE"}', "query.a", 'environment variable "NONE" is not set'),
        ('max_tokens_field = "tokens"', "max_tokens_field", '"tokens"'),
        ("headers = {" + ", ".join(f'X-{number} = "b"' for number in range(33)) + "}", "headers", "33 are above 32"),
    ],
)
def test_mistakes(line: str, where: str, said: str) -> None:
    [mistake] = mistakes_in(HEAD + line + "\n", {"BEARER": "Bearer abc"})

    assert mistake.startswith(f"credentials[0].{where}: ")
    assert said in mistake


@pytest.mark.parametrize("line", ['headers = {X-A = "b"}', 'query = {a = "b"}', 'max_tokens_field = "max_tokens"'])
def test_only_on_openai_s_wire(line: str) -> None:
    text = f'[[credentials]]\nname = "main"\nprovider = "cohere"\napi_key = "co-0123456789"\n{line}\n'

    [mistake] = mistakes_in(text)

    assert "only for providers of OpenAI's wire, and cohere is none" in mistake


@pytest.mark.parametrize("provider", ["openai_compatible", "azure", "bedrock", "vertex"])
def test_address_is_needed(provider: str) -> None:
    text = f'[[credentials]]\nname = "main"\nprovider = "{provider}"\napi_key = "k-0123456789"\n'

    assert [f"credentials[0].base_url: missing: {provider} has no address of its own"] == mistakes_in(text)


def test_azure_takes_an_authorization_of_its_own() -> None:
    text = HEAD.replace("openai_compatible", "azure") + 'api_key = "k-0123456789"\n'

    assert [] == mistakes_in(text + 'headers = {Authorization = "Bearer tok-0123456789"}\n')
    assert ['credentials[0].headers: "api-key" carries the key: use api_key'] == mistakes_in(
        text + 'headers = {api-key = "tok-0123456789"}\n'
    )


def test_values_are_masked_in_what_a_provider_says() -> None:
    found = credential(
        'headers = {X-A = "Token env:T", X-B = "v2"}\nquery = {key = "env:Q", api-version = "2024-10-21"}\n',
        {"T": "tok-0123456789", "Q": "query-key"},
    )

    said = mask_secrets("bad tok-0123456789, query-key, v2, 2024-10-21", found.secrets)

    assert "bad [redacted], [redacted], v2, 2024-10-21" == said


def test_other_headers_are_another_account() -> None:
    marks = {credential(f'headers = {{X-Org = "{name}"}}\n').fingerprint() for name in "ab"}

    assert 2 == len(marks)


def test_provider_at_our_own_port_is_noted(tmp_path: Path) -> None:
    file = tmp_path / "pg.toml"
    text = '[[credentials]]\nname = "main"\nprovider = "llamacpp"\n' + PROJECT_HEAD + ENDPOINT
    file.write_text(text)
    [note] = read_configuration(file, {}).notes
    file.write_text('[server]\nbind = "127.0.0.1:9000"\n' + text)

    assert note.startswith("credentials[0].base_url: localhost:8080 is where server.bind listens, too")
    assert () == read_configuration(file, {}).notes


# ── a key in a file ──────────────────────────────────────────────────────────────────────────────────────────────────


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


def test_key_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path, clock = tmp_path / "key", Clock()
    path.write_text("key-one\n")
    key = KeyFile(path, clock)
    replace(path, "key-two\n")
    clock.now = CHECK_EVERY_S / 2
    early = key.reveal()
    clock.now = CHECK_EVERY_S

    assert ("key-one", "key-two") == (early, key.reveal())
    assert key.previous is not None
    assert "key-one" == key.previous.reveal()


def test_file_is_looked_at_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, clock = tmp_path / "key", Clock()
    path.write_text("key-one")
    key = KeyFile(path, clock)
    looks: list[Path] = []
    monkeypatch.setattr("pg_trio.config.key_file._stamp_of", looks.append)
    for tenth in range(35):
        clock.now = tenth / 10
        key.reveal()

    assert [path] * 3 == looks


@pytest.mark.parametrize("spoil", ["gone", "empty", "placeholder", "two lines"])
def test_broken_key_file_keeps_the_old_key_and_says_so_once(
    spoil: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tmp_path / "key", Clock()
    path.write_text("key-one")
    key = KeyFile(path, clock)
    if spoil == "gone":
        path.unlink()
    else:
        replace(path, {"empty": "", "placeholder": "${KEY}", "two lines": "key-two\nkey-three"}[spoil])
    with caplog.at_level(logging.ERROR):
        for second in range(1, 5):
            clock.now = float(second)
            assert "key-one" == key.reveal()
    replace(path, "key-four")
    clock.now = 5.0

    assert "key-four" == key.reveal()
    assert 1 == len(caplog.records)
    assert "key-one" not in caplog.text
    assert "key-three" not in caplog.text


def test_old_and_new_key_are_masked(tmp_path: Path) -> None:
    path, clock = tmp_path / "key", Clock()
    path.write_text("plain.one")
    key = KeyFile(path, clock)
    found = Credential("main", "vertex", "https://llm.example.com", api_key=key)
    marks, hashes = {found.fingerprint()}, {hash(Candidate(found, "m"))}
    assert "bad [redacted]" == mask_secrets("bad plain.one", found.secrets)
    replace(path, "plain.two")
    clock.now = 1.0
    key.reveal()

    assert "bad [redacted] [redacted]" == mask_secrets("bad plain.one plain.two", found.secrets)
    assert (marks, hashes) == ({found.fingerprint()}, {hash(Candidate(found, "m"))})


# ── other values in files ────────────────────────────────────────────────────────────────────────────────────────────

FILES = """api_key = "file:key"
headers = {X-Token = "file:token", X-Gateway = "Bearer file:bearer", X-Team = "search"}
query = {sig = "file:sig", api-version = "2024-10-21"}
"""


def sent_to(found: Credential, call: str) -> WireRequest:
    candidate = Candidate(found, "m")
    if call == "embeddings":
        return embeddings_for(candidate.provider).build_embeddings(EmbeddingRequest(("Hi",)), candidate)
    return adapter_for(candidate.provider).build_request(
        Prompt((Message("user", "Hi"),)), candidate, stream=call == "stream"
    )


@pytest.mark.parametrize("call", ["chat", "stream", "embeddings"])
def test_every_value_of_a_file_is_read_again(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(KeyFile.__init__, "__defaults__", (clock,))
    for name in ("key", "token", "bearer", "sig"):
        (tmp_path / name).write_text(f"{name}-one")
    found = credential(FILES, folder=tmp_path)
    seen = []
    for time, number in ((0.0, "one"), (CHECK_EVERY_S, "two"), (2 * CHECK_EVERY_S, "three")):
        for name in ("key", "token", "bearer", "sig"):
            replace(tmp_path / name, f"{name}-{number}")
        clock.now = time
        request = sent_to(found, call)
        headers = dict(request.headers)
        seen.append((*[headers[name] for name in ("Authorization", "X-Token", "X-Gateway", "X-Team")], request.url))

    path = "embeddings" if call == "embeddings" else "chat/completions"
    assert seen == [
        (
            f"Bearer key-{number}",
            f"token-{number}",
            f"Bearer bearer-{number}",
            "search",
            f"https://llm.example.com/v1/{path}?sig=sig-{number}&api-version=2024-10-21",
        )
        for number in ("one", "two", "three")
    ]


@pytest.mark.parametrize("is_first_sent", [False, True])
def test_old_and_new_values_of_files_are_masked(
    is_first_sent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(KeyFile.__init__, "__defaults__", (clock,))
    names = ("key", "token", "bearer", "sig")
    for name in names:
        (tmp_path / name).write_text(f"{name}.one")
    found = credential(FILES, folder=tmp_path)
    marks = found.fingerprint(), hash(found)
    for name in names:
        replace(tmp_path / name, f"{name}.two")
    clock.now = CHECK_EVERY_S
    if is_first_sent:
        sent_to(found, "chat")

    said = mask_secrets(" ".join(f"{name}.{number}" for name in names for number in ("one", "two")), found.secrets)

    assert ["[redacted]"] * 8 == said.split()
    assert marks == (found.fingerprint(), hash(found))
    assert all(value not in repr(found) for value in (".one", ".two"))


@pytest.mark.parametrize(
    "line",
    ['api_key = "VALUE"', 'headers = {X-A = "VALUE"}', 'headers = {X-A = "Bearer VALUE"}', 'query = {a = "VALUE"}'],
)
def test_file_is_another_credential_than_its_value(line: str, tmp_path: Path) -> None:
    """Routes are kept by credential: after a reload, one with a file must not get the route of one without."""
    for name in ("a", "b"):
        (tmp_path / name).write_text("tok-0123456789")

    found = [
        credential(f"{line}\n".replace("VALUE", value), folder=tmp_path)
        for value in ("tok-0123456789", "file:a", "file:b", "file:a")
    ]

    assert [0, 1, 2, 1] == [found.index(each) for each in found]
    assert 3 == len(set(found))


def test_short_value_of_a_file_is_masked(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("s3cr")

    found = credential('headers = {X-A = "file:short"}\n', folder=tmp_path)

    assert "[redacted] failed" == mask_secrets("s3cr failed", found.secrets)


def test_scheme_and_file_show_nothing(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("tok-one")

    assert "tok-one" not in repr(SchemedKeyFile("Bearer", KeyFile(tmp_path / "token")))
