"""Invented personal data: the values of the corpus of tests/recordings/guardrails/personal.txt."""

from __future__ import annotations

import random
from collections.abc import Callable

from scripts.bench.benches.guardrails.slots import digits, with_luhn

_USERS = ("anna", "max.mustermann", "j.doe", "maria", "lee", "info", "support", "petra", "k-walker", "tom")
# Area codes and exchanges in use; what a plan does not give out is no telephone.
_AREAS = ("212", "310", "415", "503", "617", "702", "786", "805", "917", "972", "416", "604")
_MOBILE = ("151", "152", "157", "160", "162", "163", "170", "171", "172", "173", "175", "176", "178", "179")
# Prefix and length, by network.
_ISSUERS = {
    "visa": (("4",), 16),
    "mc": (("51", "52", "53", "54", "55", "2221", "2700"), 16),
    "amex": (("34", "37"), 15),
    "discover": (("6011", "65"), 16),
    "diners": (("300", "36", "38"), 14),
    "jcb": (("3528", "3550", "3589"), 16),
    "maestro": (("6759", "5018", "6304"), 16),
    "unionpay": (("62",), 16),
}
_JOINTS = {
    "4sp": " ",
    "4hy": "-",
    "4dsp": "  ",
    "4sphy": " - ",
    "4dot": ".",
    "4nbsp": "\u00a0",
    "4tab": "\t",
    "4us": "_",
}
_JOINTS["4en"] = "\u2013"
_WIDTHS = {"465": ((4, 6, 5), " "), "465hy": ((4, 6, 5), "-"), "464": ((4, 6, 4), " ")}
# Country, digits of the account, digits of the bank.
_IBANS = (("DE", 18), ("FR", 23), ("ES", 20), ("AT", 16), ("BE", 12), ("DK", 14), ("CH", 17), ("PL", 24))


def _card(issuer: str, style: str, rng: random.Random) -> str:
    prefixes, length = _ISSUERS[issuer]
    prefix = rng.choice(prefixes)
    number = with_luhn(prefix + "".join(rng.choices("0123456789", k=length - len(prefix) - 1)))
    if style in _JOINTS:
        return _JOINTS[style].join(number[start : start + 4] for start in range(0, len(number), 4))
    if style in _WIDTHS:
        widths, joint = _WIDTHS[style]
        starts = [sum(widths[:index]) for index in range(len(widths))]
        return joint.join(number[start : start + width] for start, width in zip(starts, widths, strict=True))
    return number


def _iban(rng: random.Random) -> str:
    country, length = rng.choice(_IBANS)
    account = "".join(rng.choices("0123456789", k=length))
    moved = account + "".join(str(ord(letter) - 55) for letter in country) + "00"
    return f"{country}{98 - int(moved) % 97:02}{account}"


def _ssn(joint: str) -> Callable[[random.Random], str]:
    def make(rng: random.Random) -> str:
        return f"{rng.randint(100, 665)}{joint}{rng.randint(1, 99):02}{joint}{rng.randint(1, 9999):04}"

    return make


def _exchange(rng: random.Random) -> str:
    return f"{rng.randint(2, 9)}{rng.choice('023456789')}{rng.randint(0, 9)}"


def _grouped(text: str) -> str:
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def _cards() -> dict[str, Callable[[random.Random], str]]:
    def maker(issuer: str, style: str) -> Callable[[random.Random], str]:
        return lambda rng: _card(issuer, style, rng)

    styles = ("", *_JOINTS, *_WIDTHS)
    return {f"{issuer}-{style}".rstrip("-"): maker(issuer, style) for issuer in _ISSUERS for style in styles}


VALUES: dict[str, Callable[[random.Random], str]] = {
    "user": lambda rng: rng.choice(_USERS),
    "oct": lambda rng: str(rng.randint(1, 254)),
    "iban": _iban,
    "ibansp": lambda rng: _grouped(_iban(rng)),
    "ssn": _ssn("-"),
    "ssnsp": _ssn(" "),
    "ssn-nbhy": _ssn("\u2011"),
    "npa": lambda rng: rng.choice(_AREAS),
    "nxx": _exchange,
    "mob": lambda rng: rng.choice(_MOBILE),
    "d7": lambda rng: digits(7, rng),
    **_cards(),
}
