"""The types that are off unless named: true ones in many spellings, and look-alikes that must pass."""

from __future__ import annotations

import pytest

from pg_trio.domain.detected_types import PII_LABELS, PUBLISHED_PII_TYPES, PiiType
from pg_trio.stages.guardrails.detection import mask_matches
from pg_trio.stages.guardrails.detectors import pii_finder
from pg_trio.stages.guardrails.keccak import keccak_256

FINDERS = {name: pii_finder((name,)) for name in PII_LABELS}

# (type, text, what is found)
FOUND: list[tuple[PiiType, str, str]] = [
    ("url_credentials", "postgres://app:s3cr3t-pw@db.example.com:5432/x", "app:s3cr3t-pw"),
    ("url_credentials", "https://max:pa%24%24@example.com/", "max:pa%24%24"),
    ("url_credentials", "redis://:hunter2@10.0.0.1:6379", ":hunter2"),
    (
        "url_credentials",
        "git clone https://9f8e7d6c5b4a39281706f5e4d3c2b1a0@git.example.com/a.git",
        "9f8e7d6c5b4a39281706f5e4d3c2b1a0",
    ),
    ("ipv6", "from 2001:db8::8a2e:370:7334 to", "2001:db8::8a2e:370:7334"),
    ("ipv6", "[fe80::1]:80", "fe80::1"),
    ("mac_address", "ether 3c:22:fb:0a:1b:2c txqueuelen", "3c:22:fb:0a:1b:2c"),
    ("mac_address", "3C-22-FB-0A-1B-2C", "3C-22-FB-0A-1B-2C"),
    ("mac_address", "interface 3c22.fb0a.1b2c up", "3c22.fb0a.1b2c"),
    ("mac_address", "mac 00:11:22:33:44:55.", "00:11:22:33:44:55"),
    ("us_passport", "My passport number is 512345678.", "512345678"),
    ("us_passport", "US Passport: A12345678", "A12345678"),
    ("us_passport", '"passport_number": "512345678"', "512345678"),
    ("us_passport", "A12345678 (US passport)", "A12345678"),
    ("de_tax_id", "IdNr. 86 095 742 719", "86 095 742 719"),
    ("de_tax_id", "Steuer-ID: 47036892816", "47036892816"),
    ("de_tax_id", "65929970489", "65929970489"),
    ("de_tax_id", "Steueridentifikationsnummer 02 476 291 358", "02 476 291 358"),
    ("date_of_birth", 'dateOfBirth: "1990-01-31T00:00:00Z"', "1990-01-31"),
    ("uk_nino", "NINO: AB123456C", "AB123456C"),
    ("uk_nino", "my NI number is JG 12 34 56 C", "JG 12 34 56 C"),
    ("uk_nino", "ce-12-34-56-d", "ce-12-34-56-d"),
    ("fr_nir", "NIR 2 55 08 14 168 025 38", "2 55 08 14 168 025 38"),
    ("fr_nir", "sécurité sociale : 185057800608491", "185057800608491"),
    ("es_nif", "DNI 12345678Z", "12345678Z"),
    ("es_nif", "NIE: X1234567L", "X1234567L"),
    ("es_nif", "12.345.678-Z", "12.345.678-Z"),
    ("es_nif", "CIF A58818501", "A58818501"),
    ("it_codice_fiscale", "CF: RSSMRA85T10A562S", "RSSMRA85T10A562S"),
    ("it_codice_fiscale", "rssmra85t10a562s", "rssmra85t10a562s"),
    ("it_codice_fiscale", "RSS MRA 85T10 A562S", "RSS MRA 85T10 A562S"),
    ("crypto_wallet", "send to 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa now", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
    ("crypto_wallet", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy"),
    ("crypto_wallet", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
    ("crypto_wallet", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
    ("crypto_wallet", "0xde0b295669a9fd93d5f28d9ec85e40f4cb697bae", "0xde0b295669a9fd93d5f28d9ec85e40f4cb697bae"),
    ("vin", "VIN 1M8GDM9AXKP042788", "1M8GDM9AXKP042788"),
    ("vin", "1HGCM82633A004352", "1HGCM82633A004352"),
    ("vin", "Fahrgestellnummer: WVWZZZ1JZXW000001", "WVWZZZ1JZXW000001"),
    ("date_of_birth", "Date of birth: 12/03/1985", "12/03/1985"),
    ("date_of_birth", "DOB 1985-03-12", "1985-03-12"),
    ("date_of_birth", "I was born on March 12, 1985 in Rome", "March 12, 1985"),
    ("date_of_birth", "geboren am 12. März 1985", "12. März 1985"),
    ("date_of_birth", "geb. 12.3.85", "12.3.85"),
    ("date_of_birth", "née le 3 février 1990 à Lyon", "3 février 1990"),
    ("date_of_birth", "fecha de nacimiento: 3 de mayo de 1990", "3 de mayo de 1990"),
    ("date_of_birth", "nato il 03/05/1990", "03/05/1990"),
    ("date_of_birth", '"birth_date": "1990-05-03"', "1990-05-03"),
    ("date_of_birth", "出生日期：1985年3月12日", "1985年3月12日"),
]

LEFT: list[tuple[PiiType, str]] = [
    ("url_credentials", "https://user:password@example.com"),
    ("url_credentials", "postgres://${USER}:${PASSWORD}@db/x"),
    ("url_credentials", "mysql://app:<password>@db"),
    ("url_credentials", "redis://:****@cache"),
    ("url_credentials", "ssh://git@github.com/a/b"),
    ("url_credentials", "https://example.com/a:b@c"),
    ("url_credentials", "http://localhost:8080/@scope/pkg"),
    ("ipv6", "10.0.0.1"),
    ("ipv6", "std::vector, 12:30:45"),
    ("mac_address", "2024-05-06-12-30-45 and 12-05-20-23-11-45"),
    ("mac_address", "SHA1 3c:22:fb:0a:1b:2c:3c:22:fb:0a"),
    ("mac_address", "ff:ff:ff:ff:ff:ff"),
    ("mac_address", "1234.5678.9012"),
    ("us_passport", "order 512345678"),
    ("us_passport", "passport to success in 2024"),
    ("de_tax_id", "12345678901"),
    ("de_tax_id", "86095742710"),
    ("de_tax_id", "02476291358"),
    ("de_tax_id", "order no. 86095742719"),
    ("uk_nino", "BG123456C and AB123456E"),
    ("uk_nino", "part no. AB123456C"),
    ("uk_nino", "GB123456C, NT123456A"),
    ("fr_nir", "2 55 08 14 168 025 39"),
    ("fr_nir", "255081416802539"),
    ("es_nif", "12345678A"),
    ("es_nif", "X1234567A"),
    ("es_nif", "invoice 12345678Z"),
    ("it_codice_fiscale", "RSSMRA85T10A562T"),
    ("it_codice_fiscale", "RSSMRA85T99A562S"),
    ("crypto_wallet", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb"),
    ("crypto_wallet", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5"),
    ("crypto_wallet", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"),
    ("crypto_wallet", "0x0000000000000000000000000000000000000000"),
    ("crypto_wallet", "commit 9fceb02d0ae598e95dc970b74767f19372d61af8"),
    ("vin", "1M8GDM9A1KP042788"),
    ("vin", "12345678901234567"),
    ("vin", "ABCDEFGHJKLMNPRST"),
    ("vin", "order 1HGCM82633A004352"),
    ("date_of_birth", "Meeting on 12/03/1985"),
    ("date_of_birth", "The company was born in 1998 with 12 people"),
    ("date_of_birth", "born 99/99/9999"),
    ("date_of_birth", "Invoice date: 2024-01-02"),
]


@pytest.mark.parametrize(("name", "text", "value"), FOUND)
def test_true_one_is_found(name: PiiType, text: str, value: str) -> None:
    masked = mask_matches(text, FINDERS[name].find(text))

    assert text.replace(value, f"[{PII_LABELS[name]} REDACTED]") == masked


@pytest.mark.parametrize(("name", "text"), LEFT)
def test_lookalike_passes(name: PiiType, text: str) -> None:
    assert [] == FINDERS[name].find(text)


@pytest.mark.parametrize("name", list(PII_LABELS))
def test_masked_text_is_found_no_more(name: PiiType) -> None:
    for _, text, _value in FOUND:
        masked = mask_matches(text, FINDERS[name].find(text))
        assert [] == FINDERS[name].find(masked)


def test_published_types_alone_are_the_default() -> None:
    assert list(PUBLISHED_PII_TYPES) == list(pii_finder(None).longest_match_chars)


def test_password_is_masked_before_an_address_of_mail_is_seen() -> None:
    finder = pii_finder(("email", "url_credentials"))

    found = finder.find("https://max:secret7@mail.example.com/inbox")

    assert ["url_credentials"] == [match.rule for match in found]


def test_keccak_is_ethereum_s() -> None:
    assert "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470" == keccak_256([b""])[0].hex()
