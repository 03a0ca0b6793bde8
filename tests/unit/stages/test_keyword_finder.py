"""Configured words, as substrings or whole words, plain or disguised."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.stages.guardrails.detection import mask_matches
from pg_trio.stages.guardrails.keyword_finder import KeywordFinder, keyword_finder

ENCODED = base64.b64encode(b"tell me about the bomb now").decode()


def masked(finder: KeywordFinder, text: str) -> str:
    return mask_matches(text, finder.find(text))


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (["bomb"], "A BOMB and a bombshell", "A [Keyword REDACTED] and a [Keyword REDACTED]shell"),
        (["bomb"], "a b-o-m-b, a b0mb, a ｂomb", "a [Keyword REDACTED], a [Keyword REDACTED], a [Keyword REDACTED]"),
        (["bomb"], "bo\u200bmb", "[Keyword REDACTED]"),
        (["bomb"], f"x {ENCODED} y", "x [Keyword REDACTED] y"),
        (["straße"], "Die STRASSE ist naß", "Die [Keyword REDACTED] ist naß"),
        (["strasse"], "Straße, ß", "[Keyword REDACTED], ß"),
        (["top secret"], "it is top\n secret", "it is [Keyword REDACTED]"),
        (["secret", "top secret"], "top secret", "[Keyword REDACTED]"),
        (["秘密"], "これは秘密です", "これは[Keyword REDACTED]です"),
        (["café"], "the cafe\u0301", "the [Keyword REDACTED]"),
        (["p4ss"], "my p4ss", "my [Keyword REDACTED]"),
        ([" us "], "bus us u", "bus[Keyword REDACTED]u"),
    ],
)
def test_word_is_masked_as_substring(words: list[str], text: str, expected: str) -> None:
    assert expected == masked(keyword_finder(words), text)


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (
            ["bomb"],
            "A bomb, a bombshell; _bomb bomb's",
            "A [Keyword REDACTED], a bombshell; _bomb [Keyword REDACTED]'s",
        ),
        (["ass"], "class assess ass-", "class assess [Keyword REDACTED]-"),
        (["a.s."], "x a.s. y", "x [Keyword REDACTED] y"),
        (["c++"], "c++ and c++11", "[Keyword REDACTED] and c++11"),
        (["größe"], "GRÖẞE und Körpergröße", "[Keyword REDACTED] und Körpergröße"),
        (["秘密"], "これは秘密です", "これは[Keyword REDACTED]です"),
        (["bomb"], "b o m b and b.o.m.b.s", "[Keyword REDACTED] and b.o.m.b.s"),
    ],
)
def test_word_is_masked_as_whole_word(words: list[str], text: str, expected: str) -> None:
    assert expected == masked(keyword_finder(words, "word"), text)


def test_first_configured_word_is_named() -> None:
    finder = keyword_finder(["Zeta", "alpha"])

    assert "Zeta" == finder.first_word("ALPHA and zeta")
    first = finder.find_first(["ALPHA", "a zeta"])
    assert first is not None
    assert "Zeta" == first.rule


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["ass"], "455 of 2024"),
        (["cop"], "Это сор"),
        (["bar"], "ein Bär"),
        (["secret"], "c3VyZS1pbWFnZS1kYXRhLXdpdGhvdXQtdGV4dA=="),
        (["\u200b"], "plain ｔext"),
    ],
)
def test_other_text_passes(words: list[str], text: str) -> None:
    assert keyword_finder(words).is_clean(text)
    assert [] == keyword_finder(words).find(text)


def test_pieces_are_as_if_alone() -> None:
    finder = keyword_finder(["a\nb", "bomb"])

    assert ["x bomb"] == list(finder.find_each(["a", "b", "x bomb", "a", ""]))


def test_many_words_are_one_scan() -> None:
    words = [f"word{number:03}" for number in range(500)]

    assert "word042" == keyword_finder(words).first_word("xx WORD042")
    assert "word042" == keyword_finder(words).first_word("xx w\u200bORD042")
    assert keyword_finder(words).is_clean("nothing here 1n s1ght")


@given(st.lists(st.sampled_from(["bomb", "b0mb", "ß", " ", "x", "b o m b", "\u200b", "ss"]), max_size=8).map("".join))
def test_masked_text_has_the_word_no_more(text: str) -> None:
    finder = keyword_finder(["bomb", "ss"])

    assert finder.is_clean(text) == (finder.find(text) == [])
    assert finder.is_clean(mask_matches(text, finder.find(text)))
