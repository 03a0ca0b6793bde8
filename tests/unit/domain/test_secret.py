"""Secrets that hide themselves, and the mask for text from outside."""

from __future__ import annotations

import base64
import copy
import pickle
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.secret import MASK, SAID_CHARS, Secret, is_harmless, mask_client_text, mask_secrets

KEY = "5fJx0Qm7Zr2Wk9LbVt4Ny8Hc1Pd6Sg3A"


def test_secret_hides_itself() -> None:
    secret = Secret(KEY)

    shown = f"{secret} {secret!r} {[secret]} %s" % secret

    assert f"{MASK} Secret('{MASK}') [Secret('{MASK}')] {MASK}" == shown


def test_secret_reveals_on_demand() -> None:
    assert KEY == Secret(KEY).reveal()


@pytest.mark.parametrize("cut", [0, 1, 20])
def test_client_token_is_masked_whole(cut: int) -> None:
    token = "pg_tmp_WzEsImFiYyIsMV0" + "." + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U1v"

    assert f"a {MASK}, b" == mask_client_text(f"a {token[: len(token) - cut]}, b")


def test_secrets_compare_by_value() -> None:
    assert {Secret(KEY)} == {Secret(KEY), Secret(KEY)}
    assert Secret(KEY) != Secret("other")
    assert Secret(KEY) != KEY


@pytest.mark.parametrize("leak", [pickle.dumps, copy.copy, copy.deepcopy])
def test_secret_is_not_copied(leak: object) -> None:
    assert callable(leak)

    with pytest.raises(TypeError):
        leak(Secret(KEY))


def test_plain_text_stays() -> None:
    said = "HTTP 429: Rate limit reached for gpt-4o-mini on tokens per min. Risk-management is a task-oriented word."

    assert said == mask_secrets(said)


def test_known_key_is_masked() -> None:
    assert f"bad key {MASK}, yes {MASK}." == mask_secrets(f"bad key {KEY}, yes {KEY}.", [Secret(KEY)])


def test_longer_known_key_goes_first() -> None:
    short, long = Secret(KEY[:12]), Secret(KEY)

    assert f"{MASK} {MASK}" == mask_secrets(f"{KEY} {KEY[:12]}", [short, long])


def test_empty_known_key_masks_nothing() -> None:
    assert "fine" == mask_secrets("fine", [Secret("")])


ODD_KEY = "k3y/with+odd=signs~?>"


@pytest.mark.parametrize("key", [KEY, ODD_KEY])
@pytest.mark.parametrize(
    "write",
    [
        "\x00".join,
        lambda key: f"{key[:7]}\r\n {key[7:]}",
        lambda key: f"{key[:7]}\u200b{key[7:9]}\xad{key[9:]}",
        lambda key: quote(key, safe=""),
        lambda key: quote(key, safe="").lower() if key == ODD_KEY else key,
        lambda key: "".join(f"%{ord(character):02x}" for character in key),
        lambda key: base64.b64encode(key.encode()).decode(),
        lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
        lambda key: base64.urlsafe_b64encode(key.encode()).decode().rstrip("="),
        lambda key: base64.encodebytes(f"Bearer {key}".encode()).decode(),
    ],
)
def test_known_key_in_disguise_is_masked(key: str, write: Callable[[str], str]) -> None:
    assert f"You sent {MASK} ." == mask_secrets(f"You sent {write(key)} .", [Secret(key)])


def test_short_key_has_no_encoded_forms() -> None:
    # base64 of "no" is "bm8=".
    assert f"bm8 and {MASK}" == mask_secrets("bm8 and no", [Secret("no")])


def test_shape_with_controls_is_masked() -> None:
    assert f"key: {MASK}" == mask_secrets("key: sk-proj-\x00abcd\x00efgh\x1bijkl")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("summarize", "summarize"),
        ("pg_live_abcdefgh1234", MASK),
        ("pg_live_" + "a" * 300, MASK),
        ("x" * 60 + "pg_live_abcdefgh1234", "x" * 60 + MASK[:3] + "…"),
        ("a\r\nX-Injected: 1\x1b[31m", "a X-Injected: 1[31m"),
        ("x" * 64, "x" * 64),
        ("x" * 65, "x" * 63 + "…"),
        ("", ""),
    ],
)
def test_client_text_is_masked_and_cut(text: str, shown: str) -> None:
    assert shown == mask_client_text(text)


def test_client_text_has_its_own_limit() -> None:
    assert "abc…" == mask_client_text("abcdefgh", 4)


@given(st.text(max_size=300), st.integers(1, 80))
def test_any_client_text_fits(text: str, limit: int) -> None:
    shown = mask_client_text(text, limit)

    assert len(shown) <= limit
    assert not any(ord(character) < 0x20 for character in shown)


@pytest.mark.parametrize(
    "shaped",
    [
        "sk-proj-abcDEF123456_7890",
        "sk-ab************wxyz",
        "gsk_abcdefghijklmnop1234",
        "pg_live_abcd1234",
        "pg_test_abcd1234",
        "AIzaSyA1234567890abcdefghijklmnopqrstu",
        "AKIAIOSFODNN7EXAMPLE",
        "xai-0123456789abcdef",
        "hf_abcdefghijklmnop",
        "tgp_v1_abcdefghijklmnop",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
        "Bearer 0123456789abcdef",
        "bearer   dG9rZW4rL3Rva2Vu==",
    ],
)
def test_credential_shapes_are_masked(shaped: str) -> None:
    assert f"key: {MASK}, no" == mask_secrets(f"key: {shaped}, no")


def test_shape_after_letters_is_masked() -> None:
    # A raw dump writes a line break as backslash and n: no word begins after it.
    assert f"token\\n{MASK}" == mask_secrets("token\\npg_live_abcd1234")


def test_text_becomes_one_line() -> None:
    assert "a b c d" == mask_secrets(" a\r\nb\tc\x1b\x00\x9b d\n")


def test_long_text_is_cut() -> None:
    cut = mask_secrets("ab " * 400)

    assert (SAID_CHARS, "…") == (len(cut), cut[-1])


def test_text_at_the_limit_stays() -> None:
    assert "x" * SAID_CHARS == mask_secrets("x" * SAID_CHARS)


@pytest.mark.parametrize("before", range(1960, 2001))
def test_key_cut_by_the_scan_leaves_nothing(before: int) -> None:
    # Masking shortens the long bearers so far that the end of what is scanned comes into view.
    filler = ("Bearer " + "a" * 200 + " ") * 20
    said = filler[: before - 1] + " " + KEY

    shown = mask_secrets(said, [Secret(KEY)])

    assert not any(KEY[:length] in shown for length in range(3, len(KEY)))


@given(st.text(), st.text())
def test_known_key_never_shows(before: str, after: str) -> None:
    assert KEY not in mask_secrets(before + KEY + after, [Secret(KEY)])


@given(st.text(max_size=3000))
def test_any_text_fits(said: str) -> None:
    shown = mask_secrets(said, [Secret(KEY)])

    assert len(shown) <= SAID_CHARS
    assert shown == " ".join(shown.split())


class CountedText(str):
    """A text that notes how much of it was looked at."""

    taken: int = 0

    def __getitem__(self, index: object) -> str:
        part = super().__getitem__(index)  # type: ignore[index]
        self.taken += len(part)
        return part


@pytest.mark.parametrize("piece", ["x", "eyJ-", "Bearer ", "sk-", "eyJaaaaaaaa.", " ", "pg_live_"])
def test_megabytes_are_not_read(piece: str) -> None:
    # 10 MB: what is looked at is a fixed head of it, so the time cannot grow with the input.
    said = CountedText(piece * (10_000_000 // len(piece)))

    shown = mask_secrets(said, [Secret(KEY)])

    assert said.taken <= 4 * SAID_CHARS
    assert len(shown) <= SAID_CHARS


_PLAIN = "ABCdef0123"


@pytest.mark.parametrize(
    "text",
    [
        "x1" * 16,
        f"x{_PLAIN}y",
        f"x{base64.b64encode(_PLAIN.encode()).decode().rstrip('=')}",
        f"x{base64.b64encode(f'Bearer {_PLAIN}'.encode()).decode().rstrip('=')}",
        "xAIzaSyB0123456789abcdef",
        "AKIA0123456789ABCDEF",
        "sk-0123456789",
        "a b",
        "é1",
        "",
    ],
)
def test_harmless_text_is_left_by_the_mask(text: str) -> None:
    secret = Secret(_PLAIN)

    for known in ((), (secret,), (Secret("Hidden42Value"), secret), (secret, Secret(""))):
        assert not is_harmless(text, known) or mask_secrets(text, known) == text


def test_ordinary_id_is_harmless() -> None:
    assert is_harmless("AbC123xyz", (Secret("Hidden42Value"), Secret(_PLAIN)))
    assert is_harmless("AbC123xyz", ())


def test_id_with_the_key_is_not_harmless() -> None:
    assert not is_harmless(f"x{_PLAIN}y", (Secret("Hidden42Value"), Secret(_PLAIN)))
    assert not is_harmless(f"x{_PLAIN}y", (Secret(_PLAIN), Secret("Hidden42Value")))


def test_nothing_is_harmless_while_secrets_may_change() -> None:
    assert not is_harmless("AbC123xyz", None)
