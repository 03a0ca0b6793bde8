"""What the text around a number says: its own sentence decides; another country's code belongs to the number."""

from __future__ import annotations

import pytest

from pg_trio.stages.guardrails.detection import mask_matches
from pg_trio.stages.guardrails.detectors import pii_finder

ALL = pii_finder(None)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("This is a serious issue. 4111 1111 1111 1111", "This is a serious issue. [Credit card REDACTED]"),
        ("That was the model! 212-555-2368 is mine.", "That was the model! [Phone number REDACTED] is mine."),
        ("We have no item. 078-05-1120", "We have no item. [SSN REDACTED]"),
        ("It was an update. 10.1.2.3 answers.", "It was an update. [IP address REDACTED] answers."),
        ("(see the order.) (212) 555-2368", "(see the order.) [Phone number REDACTED]"),
    ],
)
def test_word_of_another_sentence_names_nothing(text: str, masked: str) -> None:
    assert masked == mask_matches(text, ALL.find(text))


@pytest.mark.parametrize(
    "text",
    [
        "order no. 212-555-2368",
        "Rechnung Nr. 4111 1111 1111 1111",
        "Bestellung Nr. 030 12345678",
        "inv. no. 212-555-2368",
        "ref. 4111111111111111",
        "ver. 1.2.3.4",
        "see sec. 10.1.2.3",
    ],
)
def test_abbreviation_ends_no_sentence(text: str) -> None:
    assert [] == ALL.find(text)


@pytest.mark.parametrize(
    "number",
    [
        "+7 (227) 695-4918",
        "+90 (859) 948-8250",
        "06-32/344 4875",
        "08-133 59 36",
        "08-40 62 76",
        "41 3270-3950",
        "09 4257155",
        "034 066 0791",
        "8 (843) 204-56-46",
        "8-800-555-35-35",
        "(351) 924032593",
        "1-203-533-6575",
        "05433/70179675",
        "+54 9 3809 1604",
        "(33)/234-4487",
        "35/325 6830",
        "493 43 660",
        "54 0768-4246",
        "371.118.7638",
        "+353 22 12261",
    ],
)
def test_national_shapes_are_found(number: str) -> None:
    text = f"I am at {number} today"

    assert "I am at [Phone number REDACTED] today" == mask_matches(text, ALL.find(text))


@pytest.mark.parametrize(
    "number",
    [
        "3510757895374314",
        "5038 9981 5545",
        "585542851548",
        "0604 5705 8943",
        "3598 0901 8801 6490",
        "card 060419646306",
        "060449726607",
    ],
)
def test_older_ranges_of_cards_are_found(number: str) -> None:
    assert ["credit_card"] == [match.rule for match in ALL.find(number)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Call about invoice 77: +49 171 1234567", ["phone_de"]),
        ("invoice no. +49 171 1234567", []),
        ("PostgreSQL 9.6.1.0", []),
        ("redis 10.0.0.5", ["ip_address"]),
    ],
)
def test_word_counts_for_its_own_number(text: str, found: list[str]) -> None:
    assert found == [match.rule for match in ALL.find(text)]


@pytest.mark.parametrize(
    "text", ["12 2020-2024", "in 2019-2020 and 2021-2022", "3-2 1-0 4-4", "1-800 words", "06-12/2024"]
)
def test_figures_are_no_telephone(text: str) -> None:
    assert [] == ALL.find(text)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Can someone call me on 0086501586?", "Can someone call me on [Phone number REDACTED]?"),
        ("Card: 4315267405908, 12.50 EUR", "Card: [Credit card REDACTED], 12.50 EUR"),
        ("<td>4222222222222</td>", "<td>[Credit card REDACTED]</td>"),
        ("Effort 4315267405908, without cover.", "Effort [Credit card REDACTED], without cover."),
    ],
)
def test_number_without_a_better_sign(text: str, masked: str) -> None:
    assert masked == mask_matches(text, ALL.find(text))


@pytest.mark.parametrize(
    "text",
    [
        "Foundation, Inc., 51 Franklin Street, Boston, MA 02110-1301 USA",
        "#     02111-1307, USA.",
        "# 02110-1301  USA",
        "4315267405908,Cup,12.50",
        "4315267405908; 5030787659929",
        'row;4315267405908;"Cup"',
        "7683203353222 5030787659929 4315267405908",
        "EAN 4315267405908",
        "<td>4315267405908</td>",
        "| 4315267405908 | Cola | 1.20 |",
        "ba79508e-3c59-481f-bf90-06ccbc8f7a44",
        "Mozilla/5.0 (X11; Linux i686; rv:1.9.7.20) Gecko/20100101 Firefox/5.0",
        "Numéro de suivi : 0257 5682 7559",
        "Número de seguimiento 0325 6548 0461",
        "S/N: 387-570-7495",
        "{'station': '011990-99999', 'temp': 0}",
        "4315267405908, 2 pcs",
        "4315267405908: 12 Stück",
        "4315267405908 in stock",
        "4315267405908 €2.49",
        "4315267405908 12,50 EUR",
        "3 x 4315267405908",
        "Qty: 3 4315267405908",
        "Der Strichcode auf der Packung lautet 4315267405908.",
        "4315267405908 (EAN)",
        "35/325 2024",
        "5043\t7049\t2655",
    ],
)
def test_code_of_a_place_or_a_product_is_left_alone(text: str) -> None:
    assert [] == ALL.find(text)
