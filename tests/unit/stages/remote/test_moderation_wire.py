"""A moderation's request and answer, on bytes. Shapes: OpenAI API reference, "Moderations", read 2026-11."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.guardrails import Moderation
from pg_trio.domain.project import Credential
from pg_trio.domain.secret import Secret
from pg_trio.errors import ModerationBlocked
from pg_trio.stages.guardrails.remote.moderation import ModerationWire
from pg_trio.stages.guardrails.remote.remote_answer import RemoteCheckFailed
from pg_trio.stages.guardrails.remote_guard import RemoteCheck, RemoteVerdict

KEY = "sk-moderation-key"
OPENAI = Credential("main", "openai", "https://api.test/v1", Secret(KEY))
RULE = Moderation(credential=OPENAI)
ASKED = RemoteCheck("input", ["one", "two"], "6f1c", "summarize", UUID(int=7), 5.0)


def wire(credential: Credential = OPENAI, **settings: Any) -> ModerationWire:
    return ModerationWire.of(evolve(RULE, **settings), credential)


def result(*found: str, flagged: bool | None = None, **more: Any) -> dict[str, Any]:
    categories = {name: name in found for name in ("hate", "violence", *found)}
    return {"flagged": bool(found) if flagged is None else flagged, "categories": categories, **more}


def read(*results: Any, asked: RemoteCheck = ASKED, **settings: Any) -> RemoteVerdict:
    body = json.dumps({"id": "modr-1", "model": "m", "results": results}).encode()
    return wire(**settings).read(body, asked)


def blocked_by(*results: Any, **settings: Any) -> ModerationBlocked:
    with pytest.raises(ModerationBlocked) as blocked:
        read(*results, **settings)
    return blocked.value


def test_request_has_all_texts_and_the_key() -> None:
    request = wire().write(ASKED)

    assert ("https://api.test/v1/moderations", {"input": ["one", "two"]}) == (request.url, json.loads(request.body))
    assert f"Bearer {KEY}" == dict(request.headers)["Authorization"]
    assert not request.allow_private_addresses


def test_request_names_the_model() -> None:
    request = wire(model="omni-moderation-latest").write(ASKED)

    assert "omni-moderation-latest" == json.loads(request.body)["model"]


def test_request_has_what_the_credential_adds() -> None:
    query, headers = (("api-version", Secret("v 1")),), (("X-Team", Secret("blue")),)
    own = evolve(OPENAI, query=query, headers=headers)

    request = wire(own).write(ASKED)

    assert "https://api.test/v1/moderations?api-version=v+1" == request.url
    assert "blue" == dict(request.headers)["X-Team"]


def test_key_goes_where_the_provider_wants_it() -> None:
    request = wire(Credential("other", "anthropic", "http://127.0.0.1:1/v1", Secret(KEY))).write(ASKED)

    assert KEY == dict(request.headers)["x-api-key"]


def test_key_is_in_no_repr() -> None:
    assert KEY not in f"{wire()!r} {wire().write(ASKED)!r}"


def test_nothing_found_passes() -> None:
    assert RemoteVerdict() == read(result(), result())


def test_first_category_is_named_and_counted() -> None:
    error = blocked_by(result(), result("violence"))

    assert "Request blocked: moderation category 'violence' in input." == error.text
    assert ("moderation", "violence", "input", 1) == (error.guardrail, error.rule, error.phase, error.count)


def test_texts_with_the_category_are_counted() -> None:
    error = blocked_by(result("hate"), result("violence", "hate"))

    assert ("hate", 2) == (error.rule, error.count)


def test_answers_are_blocked_with_their_words() -> None:
    error = blocked_by(result("hate"), result(), asked=evolve(ASKED, phase="output"))

    assert "Response blocked: moderation category 'hate' in output." == error.text


def test_unknown_category_blocks() -> None:
    assert "new/category" == blocked_by(result("new/category"), result()).category


def test_flag_alone_blocks() -> None:
    assert "flagged" == blocked_by(result(), result(flagged=True)).category


def test_category_blocks_without_the_flag() -> None:
    assert "hate" == blocked_by(result("hate", flagged=False), result()).category


def test_named_categories_alone_block() -> None:
    assert RemoteVerdict() == read(result("hate"), result(flagged=True), categories=("violence",))
    assert "violence" == blocked_by(result("hate"), result("hate", "violence"), categories=("violence",)).category


def test_category_that_the_answer_lacks_is_not_found() -> None:
    assert RemoteVerdict() == read(result(), result(), categories=("self-harm",))


def test_null_is_not_found() -> None:
    older = {"flagged": False, "categories": {"hate": False, "illicit": None}}

    assert RemoteVerdict() == read(older, older)


def test_name_is_cleaned_and_cut() -> None:
    error = blocked_by(result("a\x1b\n" + "b" * 100), result())

    assert error.category.isprintable()
    assert 64 == len(error.category)


NO_VERDICTS: dict[str, list[Any]] = {
    "no results": [],
    "one for two": [result()],
    "three for two": [result(), result(), result()],
    "no object": [result(), None],
    "nothing": [result(), {"categories": {}}],
    "nulls": [result(), {"flagged": None, "categories": None}],
    "flag is a number": [result(), {"flagged": 0, "categories": {}}],
    "categories are a list": [result(), {"flagged": False, "categories": ["hate"]}],
    "score for a category": [result(), {"flagged": False, "categories": {"hate": 0.9}}],
    "word for a category": [result(), {"flagged": False, "categories": {"hate": "true"}}],
}


def test_answer_without_the_flag_is_read() -> None:
    """Mistral's: it has categories and scores alone."""
    clean = {"categories": {"selfharm": False}, "category_scores": {"selfharm": 0.1}}

    assert RemoteVerdict() == read(clean, clean)
    assert "selfharm" == blocked_by(clean, {"categories": {"selfharm": True}}).category
    assert "selfharm" == blocked_by(clean, {"categories": {"selfharm": True}}, categories=("selfharm",)).category


def test_answer_with_the_flag_alone_is_read() -> None:
    assert RemoteVerdict() == read({"flagged": False}, {"flagged": False, "categories": None})
    assert "flagged" == blocked_by({"flagged": True}, result()).category
    with pytest.raises(RemoteCheckFailed):
        read({"flagged": True}, result(), categories=("hate",))


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"results": [{"flagged": true, "categories": {"hate": true}}]}',
        b'{"results": [{"flagged": true, "categories": {"hate": true}, "category_scores": {"hate": NaN}}]}',
    ],
)
def test_odd_json_of_a_provider_is_read(body: bytes) -> None:
    with pytest.raises(ModerationBlocked, match="'hate'"):
        wire().read(body, evolve(ASKED, texts=["x"]))


@pytest.mark.parametrize("name", NO_VERDICTS)
def test_everything_else_is_no_verdict(name: str) -> None:
    with pytest.raises(RemoteCheckFailed):
        read(*NO_VERDICTS[name])


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"results": {}}', b'{"error": {"message": "no"}}'])
def test_other_bodies_are_no_verdict(body: bytes) -> None:
    with pytest.raises(RemoteCheckFailed):
        wire().read(body, ASKED)


@given(st.lists(st.lists(st.sampled_from(["hate", "violence", "sexual"]), unique=True), min_size=1, max_size=4))
def test_something_blocks_if_anything_was_found(found: list[list[str]]) -> None:
    asked = evolve(ASKED, texts=["x"] * len(found))
    results = [result(*names) for names in found]
    if not any(found):
        assert RemoteVerdict() == read(*results, asked=asked)
        return

    error = blocked_by(*results, asked=asked)

    assert error.category in next(names for names in found if names)
    assert sum(error.category in names for names in found) == error.count
