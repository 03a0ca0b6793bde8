"""Labelled personal data on standard output, as JSON. Runs in the peers' environment: peer_material.py DATA TIMES."""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from faker import Faker

LOCALES = [
    "en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT", "pt_BR", "pt_PT", "nl_NL", "nl_BE", "pl_PL",
    "sv_SE", "no_NO", "da_DK", "fi_FI", "cs_CZ", "de_AT", "de_CH", "fr_CH", "fr_BE", "en_AU", "en_CA",
    "en_IN", "en_IE", "en_NZ", "es_MX", "es_AR", "ja_JP", "zh_CN", "ko_KR", "ru_RU", "tr_TR", "el_GR",
    "hu_HU", "ro_RO", "uk_UA",
]  # fmt: skip
IBAN_LOCALES = ["de_DE", "en_GB", "fr_FR", "es_ES", "it_IT", "nl_NL", "pl_PL", "de_AT", "de_CH", "fi_FI"]
CARDS = ["visa", "mastercard", "amex", "discover", "jcb", "diners", "maestro", "visa16", "visa13", "visa19"]
FAKERS = {locale: Faker(locale) for locale in LOCALES}
for number, faker in enumerate(FAKERS.values()):
    faker.seed_instance(1000 + number)
ENGLISH = FAKERS["en_US"]
RNG = random.Random(11)


def draw(methods: list[str], locales: list[str] = LOCALES) -> str:
    """What one of these methods of Faker makes in one of these locales."""
    return str(getattr(FAKERS[RNG.choice(locales)], RNG.choice(methods))())


def card() -> str:
    """A number, four in ten grouped."""
    number = ENGLISH.credit_card_number(RNG.choice(CARDS))
    if RNG.random() < 0.6:
        return number
    if len(number) == 15 and number[0] == "3":
        return f"{number[:4]} {number[4:10]} {number[10:]}"
    return " ".join(number[index : index + 4] for index in range(0, len(number), 4))


KINDS: dict[str, Callable[[], str]] = {
    "email": partial(draw, ["ascii_email"]),
    "ip_address": lambda: ENGLISH.ipv4() if RNG.random() < 0.6 else ENGLISH.ipv6(),
    "iban": partial(draw, ["iban"], IBAN_LOCALES),
    "credit_card": card,
    "ssn_us": ENGLISH.ssn,
    "phone": partial(draw, ["phone_number"]),
    "mac_address": ENGLISH.mac_address,
    "fr_nir": FAKERS["fr_FR"].ssn,
    "es_nif": partial(draw, ["nif", "nie"], ["es_ES"]),
    "it_codice_fiscale": FAKERS["it_IT"].ssn,
    "vin": ENGLISH.vin,
}
SLOTS = {
    "credit_card_number": "credit_card",
    "phone_number": "phone",
    "email": "email",
    "iban": "iban",
    "ssn": "ssn_us",
    "ip_address": "ip_address",
}
OTHER: dict[str, Callable[[], object]] = {
    "person": ENGLISH.name,
    "organization": ENGLISH.company,
    "address": lambda: ENGLISH.address().replace("\n", " "),
    "age": lambda: RNG.randint(18, 90),
    "nationality": ENGLISH.country,
    "us_driver_license": lambda: ENGLISH.bothify("?#######").upper(),
}
ROWS: list[dict[str, object]] = []


def add(source: str, kind: str, text: str, value: str | None) -> None:
    """A row; half of the sources are held out."""
    held = int(hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest(), 16) % 2
    ROWS.append({"source": source, "kind": kind, "text": text, "value": value, "held": held})


def fill(template: str, source: str) -> None:
    """A row from a template: its first personal slot is the value."""
    value = kind = None
    for slot in re.findall(r"{{(\w+)}}", template):
        made = KINDS[SLOTS[slot]]() if slot in SLOTS else str(OTHER.get(slot, getattr(ENGLISH, slot, ENGLISH.word))())
        if slot in SLOTS and kind is None:
            value, kind = made, SLOTS[slot]
        template = template.replace(f"{{{{{slot}}}}}", made, 1)
    add(source, kind or "harmless", template.replace("\\n", "\n"), value)


def main(data: str, times: int) -> None:
    """Templates, values alone and amid sentences, and prose."""
    raw = Path(data) / "presidio_evaluator" / "data_generator" / "raw_data"
    for number, template in enumerate(
        (raw / "templates.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    ):
        is_personal = any(slot in SLOTS for slot in re.findall(r"{{(\w+)}}", template))
        for _ in range(times if is_personal else 3):
            fill(template.strip(), f"template {number}")
    for kind, make in KINDS.items():
        for number in range(times * 12):
            value = make()
            add(f"{kind} alone {number}", f"{kind}, alone", value, value)
            add(f"{kind} amid {number}", f"{kind}, amid", f"{ENGLISH.sentence()} {value} {ENGLISH.sentence()}", value)
    for number in range(times * 60):
        add(f"prose {number}", "harmless", FAKERS[RNG.choice(LOCALES)].paragraph(), None)
    print(json.dumps(ROWS))


main(sys.argv[1], int(sys.argv[2]))
