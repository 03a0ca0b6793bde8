"""Addresses of crypto wallets: Bitcoin and its kin (Base58Check, BIP-173/350), Ethereum and its kin (EIP-55).

A right checksum is needed where an address has one, so that ids and hashes in Base58 pass. Ethereum's addresses in one
case have none: there the form alone (0x and forty digits) decides.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import xor

from pg_trio.stages.guardrails.detector import in_batches
from pg_trio.stages.guardrails.keccak import keccak_256
from pg_trio.stages.guardrails.surroundings import WORD, Span

# Base58Check: 1 and 3 Bitcoin, D Dogecoin, L and M Litecoin, T Tron, X Dash, r XRP, t1 and t3 Zcash.
_BASE58 = r"[13DLMTXrt][1-9A-HJ-NP-Za-km-z]{25,34}"
_BECH32 = r"(?:bc|tb|ltc)1[02-9ac-hj-np-z]{11,71}|(?:BC|TB|LTC)1[02-9AC-HJ-NP-Z]{11,71}|addr1[02-9ac-hj-np-z]{50,100}"
CRYPTO_WALLET = rf"\b(?:0x[0-9a-fA-F]{{40}}|{_BECH32}|{_BASE58})\b"
CRYPTO_WALLET_OUTLINE = (
    r"\b(?:0x[0-9a-fA-F]{40}|(?:bc|tb|ltc)1[02-9ac-hj-np-z]{11}|(?:BC|TB|LTC)1[02-9AC-HJ-NP-Z]{11}"
    r"|addr1[02-9ac-hj-np-z]{50}|[13DLMTXrt][1-9A-HJ-NP-Za-km-z]{25})"
)

_BITCOIN_DIGITS = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_XRP_DIGITS = b"rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz"
_BECH32_DIGITS = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_STEPS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
# What the top five bits add, for each of their values.
_BECH32_TOPS = tuple(
    reduce(xor, (step for bit, step in enumerate(_BECH32_STEPS) if top >> bit & 1), 0) for top in range(32)
)
_BECH32_VALUES = bytes.maketrans(_BECH32_DIGITS, bytes(range(32)))
# BIP-173's and BIP-350's constants.
_BECH32_ENDS = (1, 0x2BC830A3)
_CANDIDATE = re.compile(CRYPTO_WALLET.encode())
_OVER_7 = bytes(byte in b"89abcdef" for byte in range(256))
_LARGE = bytes(byte in b"ABCDEF" for byte in range(256))
_LETTERS = bytes(byte in b"abcdefABCDEF" for byte in range(256))
# A version of one byte (Zcash: two), a hash of 20 and a checksum of 4.
_PAYLOAD_BYTES = (25, 26)


def check_crypto_wallet(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """The address, if its checksum is right."""
    if start > floor and buffer[start - 1] in b"/+=-" and not buffer.startswith(b"0x", start):
        return None  # a part of Base64 or of a path
    address = buffer[start:end]
    if end < len(buffer) and buffer[end] in WORD:
        return None
    return (start, end) if _is_address(address) else None


def sift_wallets(buffer: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Where addresses begin whose checksum is right: see detector.Sift."""
    for found in in_batches(_CANDIDATE.finditer(buffer, start)):
        fits = _are_addresses([one[0] for one in found])
        yield from [(one.start(), one.start() + 1) for one, is_address in zip(found, fits, strict=True) if is_address]


def _is_address(address: bytes) -> bool:
    return _are_addresses([address])[0]


def _are_addresses(addresses: Sequence[bytes]) -> list[bool]:
    mixed = [address[2:] for address in addresses if address.startswith(b"0x") and _has_case(address[2:])]
    hashes = keccak_256([each.lower() for each in mixed])
    right = {digits for digits, hash_ in zip(mixed, hashes, strict=True) if _fits_eip55(digits, hash_)}
    return [
        _looks_like_ethereum(address[2:]) and (address[2:] in right or not _has_case(address[2:]))
        if address.startswith(b"0x")
        else _fits_own_check(address)
        for address in addresses
    ]


def _has_case(digits: bytes) -> bool:
    return digits not in (digits.lower(), digits.upper())


def _looks_like_ethereum(digits: bytes) -> bool:
    # Not the null address and its kin; not a number.
    return len(set(digits.lower())) >= 4 and not digits.isdigit()


def _fits_eip55(digits: bytes, hash_: bytes) -> bool:
    """Letters are large where the hash of the small ones has a digit over 7."""
    wanted = int.from_bytes(hash_.hex()[: len(digits)].encode().translate(_OVER_7))
    is_large = int.from_bytes(digits.translate(_LARGE))
    return not (wanted ^ is_large) & int.from_bytes(digits.translate(_LETTERS))


def _fits_own_check(address: bytes) -> bool:
    lower = address.lower()
    if lower.startswith((b"bc1", b"tb1", b"ltc1", b"addr1")):
        return _fits_bech32(lower)
    return _fits_base58(address, _XRP_DIGITS if address.startswith(b"r") else _BITCOIN_DIGITS)


def _fits_base58(address: bytes, digits: bytes) -> bool:
    number = 0
    for byte in address:
        value = digits.find(byte)
        if value < 0:
            return False
        number = number * 58 + value
    zeros = len(address) - len(address.lstrip(digits[:1]))
    decoded = bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
    if len(decoded) not in _PAYLOAD_BYTES:
        return False
    once = hashlib.sha256(decoded[:-4]).digest()
    return hashlib.sha256(once).digest()[:4] == decoded[-4:]


def _fits_bech32(address: bytes) -> bool:
    human, _, data = address.rpartition(b"1")
    values = [byte >> 5 for byte in human] + [0] + [byte & 31 for byte in human]
    if data.translate(None, _BECH32_DIGITS):
        return False
    values += data.translate(_BECH32_VALUES)
    check = 1
    for value in values:
        check = (check & 0x1FFFFFF) << 5 ^ value ^ _BECH32_TOPS[check >> 25]
    return check in _BECH32_ENDS
