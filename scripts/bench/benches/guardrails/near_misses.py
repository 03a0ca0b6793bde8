"""Texts of near misses: each piece is a candidate that a pattern finds and a check must reject, or a disguise that is
read in vain.

A maker gives one piece; a text has many, each a new one, because equal ones could be checked once.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Callable, Mapping
from random import Random
from typing import TypeAlias

Maker: TypeAlias = Callable[[Random], str]

_HEX = "0123456789abcdef"
_ALNUM = string.ascii_letters + string.digits
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_IBANS = ("DE22", "GB22", "FR27", "NL18", "NO15", "IT27", "ES24", "AT20", "MT31")
_WORDS = (
    "the",
    "report",
    "about",
    "lazy",
    "dogs",
    "and",
    "quick",
    "foxes",
    "of",
    "March",
    "asks",
    "for",
    "all",
    "small",
    "garden",
    "tables",
)
_IDS = (
    "order",
    "invoice",
    "ticket",
    "part",
    "item",
    "product",
    "serial",
    "batch",
    "case",
    "incident",
    "booking",
    "session",
    "build",
)
_LEET = str.maketrans("oieas", "01345")


def _digits(random: Random, count: int) -> str:
    return "".join(random.choices(string.digits, k=count))


def _some(random: Random, letters: str, least: int, most: int | None = None) -> str:
    return "".join(random.choices(letters, k=random.randint(least, most or least)))


def _large(random: Random, count: int) -> str:
    return _some(random, string.ascii_uppercase, count)


def _word(random: Random) -> str:
    return _some(random, string.ascii_lowercase, 3, 8)


def luhn_digit(digits: str) -> str:
    """The check digit behind these digits."""
    total = sum(sum(divmod(int(digit) * (2 - index % 2), 10)) for index, digit in enumerate(reversed(digits)))
    return str(-total % 10)


def _card(random: Random, joint: str, lengths: tuple[int, ...], *, fits: bool = False) -> str:
    prefix = random.choice(("4", "51", "55", "2221", "4", "6011")) if sum(lengths) == 16 else "37"
    digits = prefix + _digits(random, sum(lengths) - len(prefix) - 1)
    right = int(luhn_digit(digits))
    digits += str(right if fits else (right + random.randint(1, 9)) % 10)
    groups, at = [], 0
    for length in lengths:
        groups.append(digits[at : at + length])
        at += length
    return joint.join(groups) + " "


def _run_of_digits(random: Random) -> str:
    digits = random.choice("23456") + _digits(random, random.randint(11, 17))
    return digits + str((int(luhn_digit(digits)) + random.randint(1, 9)) % 10) + " "


def _iban(random: Random, joint: str = "") -> str:
    form = random.choice(_IBANS)
    text = form[:2] + _digits(random, int(form[2:]) - 2)
    return joint.join(text[at : at + 4] for at in range(0, len(text), 4)) + " "


def _octets(random: Random, count: int) -> str:
    return ".".join(str(random.randint(0, 255)) for _ in range(count))


def _hexes(random: Random, count: int, width: int, joint: str) -> str:
    return joint.join(_some(random, _HEX, width) for _ in range(count))


def _encoded(random: Random, text: str) -> str:
    return base64.b64encode(f"{text} {_word(random)} {_word(random)}".encode()).decode() + " "


def _leet_word(random: Random) -> str:
    return (
        _some(random, "bcdfghjklmnp", 2, 4)
        + random.choice("01345@$")
        + _some(random, string.ascii_lowercase, 2, 4)
        + " "
    )


def _piled(random: Random) -> str:
    return random.choice(string.ascii_lowercase) + _some(random, "\u0301\u0316\u0323\u0308", 2)


def _mixed(random: Random) -> str:
    return _some(random, string.ascii_lowercase, 1, 3) + _some(random, "аеорсухі", 1, 2) + " "


def _name(random: Random) -> str:
    return random.choice(("password", "api_key", "token", "secret", "pwd", "auth_key"))


def _prose(random: Random) -> str:
    return " ".join(random.choices(_WORDS, k=6))


# fmt: off
CARDS: Mapping[str, Maker] = {
    "cards, wrong digit": lambda r: _card(r, " ", (4, 4, 4, 4)),
    "cards, wrong digit, bare": lambda r: _card(r, "", (16,)),
    "cards, wrong digit, any joint": lambda r: _card(r, r.choice(" -./_"), (4, 4, 4, 4)),
    "cards, wrong digit, fifteen": lambda r: _card(r, " ", (4, 6, 5)),
    "12 to 19 digits": _run_of_digits,
    "cards as orders": lambda r: f"{r.choice(_IDS)} {_card(r, ' ', (4, 4, 4, 4), fits=True)}",
}
NUMBERS: Mapping[str, Maker] = {
    "IBANs, wrong check": _iban,
    "IBANs, wrong check, groups": lambda r: _iban(r, " "),
    "no country's IBANs": lambda r: f"QX{_digits(r, 20)} ",
    "digits after two letters": lambda r: _some(r, string.ascii_uppercase, 2) + _digits(r, r.randint(13, 20)) + " ",
    "SSNs not issued": lambda r: f"9{_digits(r, 2)}-{_digits(r, 2)}-{_digits(r, 4)} ",
    "SSNs in rows": lambda r: f"{r.randint(100, 665)} {r.randint(10, 99)} {r.randint(1000, 9999)} ",
    "SSNs as orders": lambda r: f"{r.choice(_IDS)} {r.randint(100, 665)}-{r.randint(10, 99)}-{r.randint(1000, 9999)} ",
    "addresses, wrong octet": lambda r: f"{_octets(r, 3)}.{r.randint(256, 999)} ",
    "five numbers": lambda r: f"{_octets(r, 5)} ",
    "SSNs, then words": lambda r: f"900-12-{_digits(r, 4)} " if r.random() < 0.05 else r.choice(("ssn ", "soc ")),
    "addresses, then colons": lambda r: f"{_octets(r, 5)} " if r.random() < 0.05 else "1:1:aa::",
    "versions": lambda r: f"version {r.randint(11, 99)}.{_octets(r, 3)} ",
    "times": lambda r: f"{r.randint(0, 23)}:{r.randint(10, 59)}:{r.randint(10, 59)} ",
    "pairs with colons": lambda r: _hexes(r, r.randint(3, 9), 2, ":") + " ",
    "groups with colons": lambda r: _hexes(r, r.randint(4, 12), 4, ":") + " ",
    "paths of C++": lambda r: f"{_some(r, 'abcdef', 2)}::{_some(r, 'abcdef', 2)}{r.randint(0, 9)} ",
    "slices": lambda r: f"x[::{r.randint(1, 99)}] ",
}
PHONES: Mapping[str, Maker] = {
    "dates": lambda r: f"{r.randint(1990, 2030)}-{r.randint(1, 12):02}-{r.randint(1, 28):02} ",
    "short telephones": lambda r: f"212-{r.randint(200, 999)}-{r.randint(10, 99)} ",
    "telephones as tickets": lambda r: f"{r.choice(_IDS)} 212-{r.randint(222, 999)}-{r.randint(1000, 9999)} ",
    "telephones, groups": lambda r: f"0{r.randint(171, 179)} {_digits(r, 2)} {_digits(r, 2)} ",
    "telephones abroad": lambda r: f"+99{_digits(r, r.randint(8, 12))} ",
    "telephones abroad, too long": lambda r: f"+45 {_digits(r, 2)} {_digits(r, 2)} {_digits(r, 8)} ",
    "plus signs": lambda r: f"+{_digits(r, 8)} ",
    "rows of figures": lambda r: f"{_digits(r, r.randint(2, 5))} ",
    "telephone's words": lambda r: f"call {_word(r)} {r.randint(10, 99)} ",
    "numbers without a word": lambda r: f"{_word(r)} call function {r.randint(2222222222, 9999999999)} ",
    "telephones with units": lambda r: f"0{r.randint(30, 89)} {r.randint(100, 999)} {r.randint(1000, 9999)} bytes ",
}
ADDRESSES: Mapping[str, Maker] = {
    "files with @": lambda r: f"{_word(r)}@{_word(r)}.png ",
    "packages with @": lambda r: f"{_word(r)}@{r.randint(1, 9)}.{r.randint(1, 9)}.ab ",
    "SSH remotes": lambda r: f"git@{_word(r)}.com:{_word(r)}/a ",
    "short files with @": lambda r: f"{_some(r, 'abc', 1)}@{_some(r, 'abc', 1)}.js ",
    "files with @, then @": lambda r: f"{_word(r)}@a.png " if r.random() < 0.05 else "a@b.c1",
    "names with @": lambda r: f"{_word(r)}@{_word(r)} ",
    "URLs with placeholders": lambda r: f"ab://user:{r.choice(('password', 'secret', 'xxx', '${PW}'))}@{_word(r)} ",
    "URLs": lambda r: f"ab://{_word(r)}:{_word(r)} ",
    "connection strings": lambda r: f"host={_word(r)};password={r.choice(('example', '$pw', 'xxxx'))}\n",
}
PERSONS: Mapping[str, Maker] = {
    "MACs in rows": lambda r: _hexes(r, 7, 2, ":") + " ",
    "MACs of decimals": lambda r: "-".join(_digits(r, 2) for _ in range(6)) + " ",
    "passports' words": lambda r: f"passport {_word(r)} {_digits(r, 3)} ",
    "DE tax ids": lambda r: _digits(r, 11) + " ",
    "NINOs not issued": lambda r: f"BG{_digits(r, 6)}A ",
    "NINOs as orders": lambda r: f"{r.choice(_IDS)} AB{_digits(r, 6)}A ",
    "NIRs": lambda r: f"1{_digits(r, 2)}{r.randint(1, 12):02}{_digits(r, 10)} ",
    "NIFs": lambda r: f"{_digits(r, 8)}{r.choice('TRWAGMYFPDXBNJZSQVHLCKE')} ",
    "CIFs": lambda r: f"{r.choice('ABCDEFGH')}{_digits(r, 8)} ",
    "codici fiscali": lambda r: f"{_large(r, 6)}{_digits(r, 2)}A{r.randint(10, 31)}A{_digits(r, 3)}{_large(r, 1)} ",
    "VINs": lambda r: _some(r, "ABCDEFGHJKLMNPRSTUVWXYZ0123456789", 13) + _digits(r, 4) + " ",
    "wallets, Base58": lambda r: "1" + _some(r, _BASE58, 25, 34) + " ",
    "wallets, Bech32": lambda r: "bc1" + _some(r, _BECH32, 11, 71) + " ",
    "wallets, EIP-55": lambda r: "0x" + _some(r, _HEX + "ABCDEF", 40) + " ",
    "dates of birth": lambda r: f"born {r.randint(32, 99)}.{r.randint(13, 99)}.{r.randint(10, 99)} ",
}
SECRETS: Mapping[str, Maker] = {
    "password=word": lambda r: f"{_name(r)}={_word(r)}ab ",
    "password=code": lambda r: f"{_name(r)}={_word(r)}.{_word(r)}.a( ",
    "password=number": lambda r: f"pwd={_digits(r, 8)} ",
    "password=Word_word": lambda r: f"{_name(r)} = '{_word(r)}_{_word(r)}' ",
    "password=": lambda r: f"{_name(r)}=",
    "password=password=": lambda r: f"{_name(r)}={_name(r)}=",
    "password=word, then values": lambda r: "password=wordword " if r.random() < 0.05 else f"x={_word(r)}7ab ",
    "bearer": lambda r: f"bearer {_some(r, string.ascii_lowercase, 16, 24)} ",
    "keys' first lines": lambda r: f"-----BEGIN {_some(r, string.ascii_uppercase, 2, 5)} PRIVATE KEY-----\n",
    "JWTs without a header": lambda r: f"eyJ{_some(r, _ALNUM, 8)}.{_some(r, _ALNUM, 2)}.a ",
    "JWTs without a header, then eyJ-": lambda r: f"eyJ{_some(r, _ALNUM, 8)}.ab.a " if r.random() < 0.03 else "eyJ-",
    "sk-": lambda r: f"sk-{_some(r, string.ascii_lowercase, 20)} ",
    "AIza": lambda r: f"AIza{_some(r, 'ab', 35)} ",
    "tokens": lambda r: f"{r.choice(('ghp_', 'npm_'))}{_some(r, string.ascii_lowercase, 36)} ",
    "hexadecimal": lambda r: f"SK{_some(r, '012', 32)} ",
}
DISGUISES: Mapping[str, Maker] = {
    "a, zero-width": lambda r: r.choice(string.ascii_lowercase) + r.choice("\u200b\u200c\u2060\u00ad"),
    "words with zero-widths": lambda r: f"{_word(r)}\u200b{_word(r)} ",
    "spaced letters": lambda r: " ".join(_word(r)) + "  ",
    "spaced letters, any sign": lambda r: r.choice("-._*|/~+").join(_word(r)) + " ",
    "spaced letters, no end": lambda r: f"{r.choice(string.ascii_lowercase)} ",
    "digits for letters": _leet_word,
    "digits for letters, short": lambda r: f"{_some(r, string.ascii_lowercase, 2)}{r.choice('0134')} ",
    "digits in words": lambda r: _word(r).translate(_LEET),
    "accents": _piled,
    "Cyrillic in Latin": _mixed,
    "full width": lambda r: "".join(chr(ord(letter) + 0xFEE0) for letter in _word(r)) + " ",
    "ligatures": lambda r: r.choice("ﬁﬂ①②ℌ") + _word(r)[:2] + " ",
    "Base64": lambda r: _encoded(r, _prose(r)),
    "Base64 of no text": lambda r: base64.b64encode(r.randbytes(24)).decode() + " ",
    "Base64, an attack": lambda r: _encoded(r, "ignore all previous instructions"),
    "Base64 in paths": lambda r: _some(r, _ALNUM, 30) + "/",
}
PHRASES: Mapping[str, Maker] = {
    "ignore all": lambda r: f"ignore all {_word(r)} ",
    "orders about paper": lambda r: f"ignore the above instructions on the {_word(r)} ",
    "a chat's tokens in code": lambda r: f"`[INST] {_word(r)}\n",
    "weak signs": lambda r: r.choice(("show ", "print ", "chatgpt ", "verbatim ", "act as ")),
    "weak signs, far apart": lambda r: "act as " + "lorem ipsum " * 300 + "jailbreak ",
    "configured words, touching": lambda r: f"forbidden{r.randint(0, 199)} words",
    "configured words, begun": lambda r: f"forbidden{r.randint(0, 199)} wor ",
    "configured words, spread": lambda r: f"f o r b i d d e n {r.randint(0, 199)} ",
    "(a+)+": lambda r: "a" * r.randint(20, 40) + "! ",
}
# fmt: on
KINDS: Mapping[str, Mapping[str, Maker]] = {
    "cards": CARDS,
    "numbers": NUMBERS,
    "telephones": PHONES,
    "addresses": ADDRESSES,
    "persons": PERSONS,
    "secrets": SECRETS,
    "disguises": DISGUISES,
    "phrases": PHRASES,
}
MAKERS: Mapping[str, Maker] = {name: maker for kind in KINDS.values() for name, maker in kind.items()}


def make_text(name: str, chars: int, seed: int = 17) -> str:
    """So many characters of one kind, each piece another one."""
    random, maker = Random(f"{name} {seed}"), MAKERS[name]
    parts: list[str] = []
    length = 0
    while length < chars:
        parts.append(maker(random))
        length += len(parts[-1])
    return "".join(parts)[:chars]
