"""No text of a model commands a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.cli.chatting.harmless_text import make_harmless, make_one_line

BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")


@given(st.text() | st.text(st.characters(max_codepoint=0xA0)))
def test_no_control_character_is_left(text: str) -> None:
    shown = make_harmless(text)

    assert not {one for one in shown if unicodedata.category(one) in ("Cc", "Cs") and one not in "\n\t"}
    assert not BIDI & set(shown)
    assert shown == make_harmless(shown)


@given(st.text(), st.integers(0, 20))
def test_pieces_may_be_cut_anywhere(text: str, at: int) -> None:
    parts = make_harmless(text[:at]) + make_harmless(text[at:])

    # But between CR and LF: then the CR is shown.
    assert make_harmless(text) == parts or text[at - 1 : at + 1] == "\r\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, Größe, 日本語, 👩\u200d🚀\n\t.", "plain, Größe, 日本語, 👩\u200d🚀\n\t."),
        ("\x1b[31mred", "␛[31mred"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("a\rb\r\nc", "a␍b\nc"),
        ("\x7f\x9b1m\x00", "␡\\u009b1m␀"),
        ("rm \u202egpj", "rm \\u202egpj"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert shown == make_harmless(text)


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    line = make_one_line(text, 20)

    assert len(line) <= 20
    assert "\n" not in line
