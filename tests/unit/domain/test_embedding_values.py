"""Requests and replies of embeddings as values: what they hold, what they weigh, and how they are split and joined."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.chat import Usage
from pg_trio.domain.embeddings import EmbeddingReply, EmbeddingRequest, join_replies
from pg_trio.domain.log_body import BodyBudget

ALL = EmbeddingRequest(("Hello", (7, 8, 9), "Bye"), user="jane", unknown={"note": ["x", 5]})


def reply(*numbers: float, usage: Usage | None = None) -> EmbeddingReply:
    return EmbeddingReply(tuple(array("d", [number]) for number in numbers), "m", usage)


def test_everything_that_is_sent_counts() -> None:
    assert {"Hello", "Bye", "jane", "note", "x", "5"} == set(ALL.texts())
    assert len("HelloByejanenotex5") + 3 * 4 == ALL.characters()


@given(
    st.lists(st.text(max_size=3) | st.lists(st.integers(0, 9), max_size=3).map(tuple), max_size=30), st.integers(1, 9)
)
def test_parts_are_the_whole(inputs: list[str | tuple[int, ...]], most: int) -> None:
    request = EmbeddingRequest(tuple(inputs), 8, "clustering", "jane")

    parts = list(request.split(most))

    assert tuple(inputs) == tuple(each for part in parts for each in part.inputs)
    assert max(len(part.inputs) for part in parts) <= most
    assert {(8, "clustering", "jane")} == {(part.dimensions, part.input_type, part.user) for part in parts}
    assert max(1, -(-len(inputs) // most)) == len(parts)


def test_joined_replies() -> None:
    parts = [reply(1, 2, usage=Usage(3, 0)), reply(3, usage=Usage(4, 0))]

    assert reply(1, 2, 3, usage=Usage(7, 0)) == join_replies(parts)


def test_joined_usage_needs_every_part() -> None:
    assert join_replies([reply(1, usage=Usage(3, 0)), reply(2)]).usage is None


def test_lone_reply_is_itself() -> None:
    lone = reply(1)

    assert lone is join_replies([lone])


def test_size_is_that_of_the_numbers() -> None:
    both = EmbeddingReply((array("d", [0.0] * 10), array("f", [0.0] * 10)), "m")

    assert 10 * 8 + 10 * 4 == both.size_bytes()


# ── the log ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_log_shows_texts_and_counts_tokens() -> None:
    shown = BodyBudget(1_000, shows_texts=True).describe_request(ALL)

    assert {"input": ["Hello", "[3 tokens]", "Bye"], "user": "jane"} == shown


def test_log_hides_texts() -> None:
    shown = BodyBudget(1_000, shows_texts=False).describe_request(ALL)

    assert {"input": ["[5 characters]", "[3 tokens]", "[3 characters]"], "user": "[4 characters]"} == shown


def test_log_s_budget_holds() -> None:
    request = EmbeddingRequest(("x" * 100,) * 1_000, dimensions=8)

    shown = BodyBudget(500, shows_texts=True).describe_request(request)

    assert (8, True) == (shown["dimensions"], shown["cut"])
    assert len(str(shown)) < 1_500


def test_log_counts_vectors() -> None:
    assert {"vectors": 2, "dimensions": 1} == BodyBudget(10, shows_texts=True).describe_reply(reply(1, 2))
