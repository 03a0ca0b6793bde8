"""Words tell a number's meaning in scripts without spaces, too, and before any punctuation."""

from __future__ import annotations

import pytest

from pg_trio.stages.guardrails.detection import mask_matches
from pg_trio.stages.guardrails.detectors import pii_finder

ALL = pii_finder(None)
PHONE = "[Phone number REDACTED]"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("電話: {}", "612 34 54 92"),
        ("電話番号は{}です", "810 12 33 12"),
        ("我的电话是{}。", "13812345678"),
        ("手机{}", "13812345678"),
        ("手機號碼：{}", "0912345678"),
        ("携帯 {}", "09012345678"),
        ("连系电话：{}，谢谢", "62345678"),
        ("联系方式：{}", "13812345678"),
        ("传真：{}", "62345678"),
        ("전화번호: {}", "01012345678"),
        ("휴대폰 {}", "01012345678"),
        ("TEL：{}", "0312345678"),
        ("Téléphone\u00a0: {}", "0612345678"),
        ("Tél\u00a0: {}", "612345678"),
        ("«\u202fFax\u202f» {}", "0301234567"),
        ("“Phone” – {}", "2125552368"),
        ("mi número es {}", "612345678"),
        ("Meine Nummer ist {}", "69912345"),
        # of its owner, or of none that is named
        ("我的号码是{}", "138 1234 5678"),
        ("请打我的号码 {}", "+86 138 1234 5678"),
        ("号码是{}", "+86 138 1234 5678"),
        ("私の番号は{}です", "090-1234-5678"),
        ("番号は{}です。", "090-1234-5678"),
        ("緊急番号は {}", "03-1234-5678"),
        ("区号 {}", "010-12345678"),
        ("제 번호는 {}입니다", "010-1234-5678"),
        ("Police station {}", "212-555-2368"),
        ("Fire station {}", "(212) 555-2368"),
        ("The customer's number is {}", "212-555-2368"),
        # a switchboard
        ("{}", "+49 30 1234567-0"),
        ("Tel. {}", "030 1234567-0"),
        ("{}, Herr Meier", "+43 1 5123456-0"),
        ("{}.", "+41 44 123 45 67-1"),
    ],
)
def test_telephone_is_found(text: str, number: str) -> None:
    given = text.format(number)

    assert text.format(PHONE) == mask_matches(given, ALL.find(given))


@pytest.mark.parametrize(
    "text",
    [
        "订单号：212-555-2368",
        "订单编号是 4111111111111111",
        "注文番号は 212-555-2368 です",
        "会員番号 898-398-4558",
        "請求書番号 637.644.2127",
        "发票号码：476.435.5188",
        "주문번호: 212-555-2368",
        "주문 번호: 212-555-2368",
        "我的订单号是 212-555-2368",
        "station number 212-555-2368",
        "order\u00a0212-555-2368",
        "invoice\u202f4111111111111111",
        "“invoice” 4111111111111111",
        "Commande\u00a0n°\u00a0212-555-2368",
        "Pedido nº 212-555-2368",
        "Bestellung Nr.\u00a0212-555-2368",
        "customer number 862-940-3397",
        "client number: 212-555-2368",
        "numéro de client 993-379-8733",
        "número del cliente: 993-379-8733",
        "my locker number is 1234567",
        "212-555-2368-1",
        "+49 30 1234567-0815-22-7",
    ],
)
def test_id_is_left_alone(text: str) -> None:
    assert [] == ALL.find(text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("卡号4111 1111 1111 1111", "credit_card"),
        ("信用卡号：4111111111111111", "credit_card"),
        ("カード番号は4111111111111111です", "credit_card"),
        ("카드번호: 4111111111111111", "credit_card"),
        ("社保号 078-05-1120", "ssn_us"),
    ],
)
def test_persons_number_is_found(text: str, rule: str) -> None:
    assert [rule] == [match.rule for match in ALL.find(text)]


@pytest.mark.parametrize("text", ["order id 12345678Z", "account id 218686177991870", "ticket id: AB123456C"])
def test_id_of_a_thing_is_no_persons_number(text: str) -> None:
    assert [] == pii_finder(("es_nif", "fr_nir", "uk_nino")).find(text)


@pytest.mark.parametrize("text", ["id 12345678Z", "my id is 184127645108946", "ID: AB123456C"])
def test_id_alone_is_a_persons(text: str) -> None:
    assert 1 == len(pii_finder(("es_nif", "fr_nir", "uk_nino")).find(text))


@pytest.mark.parametrize("text", ["customer {}", "our client: {}", "client phone number {}"])
def test_number_of_a_person_is_found(text: str) -> None:
    given = text.format("212-555-2368")

    assert text.format(PHONE) == mask_matches(given, ALL.find(given))
