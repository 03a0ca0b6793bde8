"""Authentication: every refusal in the contract's order, and nothing told about other projects."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from uuid import UUID

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.authorization import Authorization
from pg_trio.domain.project import CHAT_ACCESS, Caller, Candidate, Credential, Endpoint, Project, Token
from pg_trio.errors import (
    ForeignToken,
    MalformedToken,
    MissingScope,
    MissingToken,
    ProjectInactive,
    StoreError,
    TokensUnavailable,
    UnknownToken,
    WrongProjectType,
)
from pg_trio.stages.authenticate import Authenticate, read_bearer

PLAINTEXT = "pg_live_good"
PROJECT_UUID = UUID("6f1c0000-0000-4000-8000-000000000001")
ENDPOINT = Endpoint(
    uuid=UUID(int=2),
    slug="ask",
    name="ask",
    candidates=(Candidate(Credential("c", "openai", "http://127.0.0.1:1"), "m"),),
)
PROJECT = Project(
    uuid=PROJECT_UUID,
    name="P",
    slug="p",
    endpoints={"ask": ENDPOINT, "off": evolve(ENDPOINT, slug="off", is_active=False)},
)
TOKEN = Token(
    id=7,
    project_uuid=PROJECT_UUID,
    name="t",
    prefix="pg_live_go",
    digest=hashlib.sha256(PLAINTEXT.encode()).digest(),
    env="live",
    scopes=("chat", "models"),
    is_active=True,
    created_at=0.0,
)


class Directory:
    """Tokens in memory, and what was asked of them; those that it `remembers` need not be looked up."""

    def __init__(self, *tokens: Token, remembers: bool) -> None:
        self.tokens = {token.digest: token for token in tokens}
        self.remembered = {digest: token for digest, token in self.tokens.items() if remembers and token.is_active}
        self.asked: list[bytes] = []
        self.used: list[tuple[int, float]] = []

    def recall(self, digest: bytes, at: float) -> Token | None:
        return self.remembered.get(digest)

    async def find(self, digest: bytes) -> Token | None:
        self.asked.append(digest)
        return self.tokens.get(digest)

    def note_used(self, token_id: int, at: float) -> None:
        self.used.append((token_id, at))


Made = tuple[Authenticate, Directory]
Make = Callable[..., Made]


@pytest.fixture(params=[False, True], ids=["looked-up", "remembered"])
def authenticate(request: pytest.FixtureRequest) -> Make:
    """Both ways in: every refusal holds for a token that was seen before, too."""

    def make(token: Token = TOKEN, project: Project = PROJECT) -> Made:
        directory = Directory(token, remembers=request.param)
        return Authenticate(directory, {project.uuid: project}), directory

    return make


async def prove(
    stage: Authenticate, plaintext: str = PLAINTEXT, project: str = str(PROJECT_UUID), at: float = 0.0
) -> Caller:
    """As the pipeline does: what is remembered is not looked up."""
    asked = [f"Bearer {plaintext}"], project, CHAT_ACCESS, at
    return stage.recall_caller(*asked) or await stage.find_caller(*asked)


async def test_good_token_is_caller(authenticate: Make) -> None:
    stage, directory = authenticate()

    caller = await prove(stage, at=5.0)

    assert (TOKEN, PROJECT) == (caller.token, caller.project)
    assert [(7, 5.0)] == directory.used


@pytest.mark.parametrize("remembers", [False, True])
async def test_remembered_token_is_not_looked_up(remembers: bool) -> None:
    directory = Directory(TOKEN, remembers=remembers)

    await prove(Authenticate(directory, {PROJECT_UUID: PROJECT}))

    assert remembers == ([] == directory.asked)


def test_digest_of_a_shared_head_is_made_once_and_looked_up_each_time() -> None:
    directory = Directory(TOKEN, remembers=True)
    stage = Authenticate(directory, {PROJECT_UUID: PROJECT})
    asked = Authorization([f"Bearer {PLAINTEXT}"]), str(PROJECT_UUID), CHAT_ACCESS, 0.0
    first = stage.recall_caller(*asked)
    assert first is not None
    assert TOKEN.digest == asked[0].digest

    # Revoked: the directory does not know it any more.
    directory.remembered.clear()

    assert stage.recall_caller(*asked) is None


def test_bad_token_of_a_shared_head_is_refused_each_time() -> None:
    stage = Authenticate(Directory(TOKEN, remembers=True), {PROJECT_UUID: PROJECT})
    asked = Authorization(["Bearer nonsense"]), str(PROJECT_UUID), CHAT_ACCESS, 0.0

    for _ in range(2):
        with pytest.raises(MalformedToken):
            stage.recall_caller(*asked)


@pytest.mark.parametrize("values", [[], [""], ["Basic abc"], ["Bearer"], ["Bearer "], ["pg_live_good"]])
def test_no_bearer_is_missing(values: list[str]) -> None:
    with pytest.raises(MissingToken):
        read_bearer(values)


@pytest.mark.parametrize(
    "token",
    [
        "sk-abc",
        "pg_live_",
        "pg_dev_x",
        "PG_LIVE_x",
        "pg_live_a b",
        "pg_live_é",
        "pg_live_" + "a" * 300,
        "pg_live_a\x00",
    ],
)
def test_wrong_shape_is_malformed(token: str) -> None:
    with pytest.raises(MalformedToken):
        read_bearer([f"Bearer {token}"])


@pytest.mark.parametrize("token", ["pg_tmp_a b", "pg_tmp_é", "pg_tmp_" + "a" * 5_000, "pg_tmp_a+/=", "pg_tmp_"])
def test_altered_client_token_is_unknown(token: str) -> None:
    with pytest.raises(UnknownToken):
        read_bearer([f"Bearer {token}"])


@pytest.mark.parametrize("token", ["pg_live_a", "pg_test_a-_9", "pg_tmp_a"])
def test_every_kind_of_token_is_well_formed(token: str) -> None:
    assert token == read_bearer([f"Bearer {token}"])


def test_two_authorization_headers_are_refused() -> None:
    with pytest.raises(MalformedToken):
        read_bearer([f"Bearer {PLAINTEXT}", f"Bearer {PLAINTEXT}"])


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_scheme_is_case_insensitive(scheme: str) -> None:
    assert PLAINTEXT == read_bearer([f"{scheme} {PLAINTEXT}"])


PARTS = st.sampled_from(
    ["Bearer", "bearer", "BEARER", "Basic", " ", "  ", "\t", "pg_live_", "PG_LIVE_", "Good-1", "é", "\n"]
)


@given(st.lists(PARTS, max_size=6).map("".join))
def test_whole_header_is_read_as_its_parts_are(header: str) -> None:
    """Whether it is matched at once or judged step by step."""
    scheme, _, credentials = header.partition(" ")
    plaintext = credentials.strip(" ")
    is_good = scheme.lower() == "bearer" and re.fullmatch("pg_live_[A-Za-z0-9_-]{1,248}", plaintext)

    try:
        found: str | None = read_bearer([header])
    except (MissingToken, MalformedToken):
        found = None

    assert found == (plaintext if is_good else None)


async def test_malformed_token_is_looked_up_nowhere(authenticate: Make) -> None:
    stage, directory = authenticate()

    with pytest.raises(MalformedToken):
        await prove(stage, "sk-1")

    assert [] == directory.asked


async def test_unknown_and_revoked_look_alike(authenticate: Make) -> None:
    unknown, _ = authenticate()
    revoked, _ = authenticate(evolve(TOKEN, is_active=False))

    with pytest.raises(UnknownToken) as first:
        await prove(unknown, "pg_live_other")
    with pytest.raises(UnknownToken) as second:
        await prove(revoked)

    assert first.value.text == second.value.text


@pytest.mark.parametrize("project", [str(UUID(int=9)), "p", "", PROJECT_UUID.hex, str(PROJECT_UUID) + "/"])
async def test_other_project_is_foreign(authenticate: Make, project: str) -> None:
    stage, _ = authenticate()

    with pytest.raises(ForeignToken):
        await prove(stage, project=project)


async def test_scope_is_named(authenticate: Make) -> None:
    stage, directory = authenticate(evolve(TOKEN, scopes=("models", "admin")))

    with pytest.raises(MissingScope) as caught:
        await prove(stage)

    assert "Missing required scope: 'chat'. Token has: models, admin." == caught.value.text
    assert [] == directory.used


async def test_scope_comes_before_inactive_project(authenticate: Make) -> None:
    stage, _ = authenticate(evolve(TOKEN, scopes=()), evolve(PROJECT, is_active=False))

    with pytest.raises(MissingScope):
        await prove(stage)


async def test_inactive_project_comes_before_its_type(authenticate: Make) -> None:
    stage, _ = authenticate(project=evolve(PROJECT, is_active=False, project_type="ai_wrapper"))

    with pytest.raises(ProjectInactive):
        await prove(stage)


async def test_other_project_type_is_refused(authenticate: Make) -> None:
    stage, _ = authenticate(project=evolve(PROJECT, project_type="ai_wrapper"))

    with pytest.raises(WrongProjectType):
        await prove(stage)


async def test_unreadable_tokens_are_no_401() -> None:
    class BrokenDirectory:
        def recall(self, digest: bytes, at: float) -> Token | None:
            return None

        async def find(self, digest: bytes) -> Token | None:
            raise StoreError("tokens.db: the disk failed")

        def note_used(self, token_id: int, at: float) -> None:
            raise AssertionError("nobody was found")

    with pytest.raises(TokensUnavailable) as raised:
        await prove(Authenticate(BrokenDirectory(), {PROJECT_UUID: PROJECT}))

    assert (503, "Token storage is unavailable.") == (raised.value.status, raised.value.text)
    assert {"Retry-After": "1"} == raised.value.headers()
