"""The types of `secret_scanner`: keys, tokens and passwords, by the prefixes that their issuers gave them.

Rules:
1. A prefix and the issuer's length decide where there is one. The random part must look random (`_is_random`), so that
   `sk-your-key-here` and rows of x pass.
2. Where a secret has no form of its own, a name must stand before it (`api_key = "…"`), and its entropy must be high.
3. Earlier types win: what a type matched is not checked by later ones.

Sources: the issuers' documentation and the rule sets of gitleaks and detect-secrets (both MIT and Apache-2.0; read
2026-11). The patterns are our own.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

from pg_trio.domain.detected_types import SECRET_LABELS
from pg_trio.stages.guardrails.byte_finder import ByteFinder
from pg_trio.stages.guardrails.detector import Detector, Resume, Sift, next_byte, sift_by
from pg_trio.stages.guardrails.secret_patterns import (
    ADO,
    ANTHROPIC,
    AWS_SECRET,
    AZURE,
    BEARER,
    GITHUB,
    GITLAB,
    GIVEN,
    GOOGLE,
    JWT,
    NAMES,
    OPENAI,
    PACKAGES,
    PROVIDERS,
    SAID,
    SERVICES,
    SLACK,
    STRIPE,
    VALUE,
)
from pg_trio.stages.guardrails.surroundings import DIGITS, Check, Span
from pg_trio.stages.guardrails.url_credentials import URL_CREDENTIALS, check_url_credentials

# Bits a character: random hexadecimal text has 4 at most, Base64 6; words and names of variables have 2 to 3.5.
_MIN_ENTROPY = 3.0
_MIN_NAMED_ENTROPY = 3.4
# 16 KiB: a key of RSA with 8,192 bits has 6.4 KB.
_MAX_KEY_BYTES = 16 * 1024
# 4,096: tokens with many claims. Proxies refuse longer headers.
_MAX_JWT_BYTES = 4096

_BEGIN = r"-----BEGIN (?:[A-Z0-9]{2,9} ){0,3}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d:"
_END_OF_KEY = re.compile(rb"-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----|Private-MAC: ?[0-9a-f]+")
_BODY_OF_KEY = re.compile(rb"(?:[A-Za-z0-9+/=\s:,]|\\[nr]|-(?!-))*")

# Without its last line, only whole lines of Base64 belong to it.
_CUT_BODY = re.compile(rb"(?:\s|\\[nr]|[A-Za-z0-9+/=]{20,80}(?![A-Za-z]))*")
_END_BYTES = 80

_PLACEHOLDER = re.compile(
    rb"(?i)example|sample|dummy|placeholder|\A.{0,16}?(?<![a-z0-9])(?:your|my)[_-]|change[_-]?me|redacted|x{4}|\*{4}|<|>|\.\.\.|insert[_-]|fake"
)
# Beside these in a value that only its name makes a secret.
_NOT_RANDOM = re.compile(rb"(?i)1234567890|abcdefgh|test[_-]?key|not[_-]?a|qwerty")
_REST_OF_URL = re.compile(rb"[^\s\"'<>`]{0,200}")
_UUID = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
# Code, not a value: a call, an attribute, a template, a path, a date, a version.
_CODE = re.compile(
    rb"(?:[A-Za-z_]\w{0,24}[.\[(])+|[$%]?[{(<]|\$|%|process\.env|os\.environ|https?:|[./~]*/[\w./-]*\Z|[a-z0-9_.-]+(?:/[a-z0-9_.-]+)+\Z|[0-9.:-]+\Z"
)
_PASSWORD_NAME = re.compile(rb"(?i)pass|pwd|kennwort")
_KINDS = tuple(re.compile(kind) for kind in (rb"[a-z]", rb"[A-Z]", rb"[0-9]", rb"[^A-Za-z0-9]"))
_PASSWORD_KINDS = 3
_MIN_KEY_BYTES = 16
# The longest part of a prefix that would count as a kind: "AI" of "AIza".
_PREFIX_BYTES = 4
_NOT_VALUE = re.compile(rb"[\"'`\s,;<>()\[\]{}]")
_QUOTES = (b'"', b"'", b"`")
_NO_SPACES = bytes(byte for byte in range(33, 127))
_MAX_VALUE_BYTES = 170
_KEY_NAME = re.compile(rb"(?i)api[_-]?key|client[_-]?secret|secret[_-]?key")
_HEX_KEY = re.compile(rb"(?:[0-9a-f-]{32,}|[0-9A-F-]{32,})\Z")
# "password is Base64-encoded", "is WPA2-PSK", "is 2FA-protected"
_TECHNICAL = re.compile(
    rb"(?i)(?:base|sha|md|utf|pbkdf|bcrypt|scrypt|argon|hmac|aes|rsa|x50|oauth|iso|ascii|rot|crc|des|ntlm|wpa|pkcs|fips|nist)-?[0-9]"
    rb"|[\w#%+.]{1,14}-(?:[a-z]{2,12}(?:ed|ible|able)|only|safe|free|specific|compliant)\Z"
)
# Names of what is no secret.
_PUBLIC_NAME = re.compile(
    rb"[A-Z0-9_]*(?:PUBLIC|PUBLISHABLE|CACHE|PRIMARY"
    rb"|FOREIGN|PARTITION|SORT|IDEMPOTENCY|HASH|SITE)_KEY\b"
    rb"|(?i:[\w.-]*(?:tokeni[sz]\w*|[_-](?:names?|type|url|uri|file|path|arn|version|expir\w*|count|limit|hint))\b)"
)
# A constant of any name: its value is often a name, too, of a place in a store or a file. And the names of secret keys.
_ANY_KEY = re.compile(rb"[A-Z][A-Z0-9_]*_KEY\b")
_SECRET_KEY = re.compile(rb"(?:API|ACCESS|SECRET|AUTH|PRIVATE|ENCRYPTION|SIGNING|ACCOUNT)_?KEY")
_PLACE = re.compile(rb"\A(?:19|20)[0-9]{2}-[0-9]{2}-|\.[A-Za-z]{2,4}\Z")
_NUMBERS = re.compile(rb"[0-9]+")
_SAID = re.compile(SAID.encode())
_IN_WORDS = re.compile(rb"[a-z] |[\x80-\xff]")
# A sign or a letter of another script behind the first sign: "Passwort: „…", "senha: é …".
_SAID_ON = frozenset((0x3A, *range(0x80, 0x100)))
_VALUE_START = re.compile(rb"(?::=|=>|=|:)\s{0,3}[\"'`]?(?=\S)")


def check_private_key(buffer: bytes, start: int, end: int, _floor: int) -> Span:
    """The key from its first line to its last; without a last line, as far as its body goes."""
    body = _BODY_OF_KEY.match(buffer, end, start + _MAX_KEY_BYTES)
    assert body is not None
    last = _END_OF_KEY.search(buffer, end, body.end() + _END_BYTES)
    if last is not None:
        return start, last.end()
    cut = _CUT_BODY.match(buffer, end, start + _MAX_KEY_BYTES)
    assert cut is not None
    return start, end + len(cut[0].rstrip())


def check_prefixed(buffer: bytes, start: int, end: int, _floor: int) -> Span:
    """A key with its issuer's prefix, if the rest looks random: letters of both cases, or letters and digits."""
    if start and (buffer[start - 1 : start].isalnum() or buffer[start - 1] == 0x5F):  # 0x5F is "_"
        return None
    value = buffer[start:end]
    if not _is_mixed(value[_PREFIX_BYTES:]) or _PLACEHOLDER.search(value) or entropy(value) < _MIN_ENTROPY:
        return None
    return start, end


def check_whole(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """The same for a key of a fixed length: no letter or digit follows. It may end with a hyphen."""
    follower = buffer[end : end + 1]
    return None if follower.isalnum() or follower == b"_" else check_prefixed(buffer, start, end, floor)


def _may_be_prefixed(value: bytes) -> bool:
    return _is_mixed(value[_PREFIX_BYTES:])


def check_exact(_buffer: bytes, start: int, end: int, _floor: int) -> Span:
    """A key whose form alone is enough."""
    return start, end


def check_jwt(buffer: bytes, start: int, end: int, _floor: int) -> Span:
    """Three parts, of which the first is a header in JSON with an algorithm (RFC 7515, 4.1.1)."""
    header = buffer[start:end].partition(b".")[0]
    if not _ALGORITHM.search(header):
        return None
    try:
        decoded = base64.urlsafe_b64decode(header + b"=" * (-len(header) % 4))
    except (binascii.Error, ValueError):
        return None
    return (start, end) if b'"alg"' in decoded or b'"enc"' in decoded else None


# JSON's "alg" and "enc" in Base64, at each of three places; of the last character only what it must be.
_ALGORITHM = re.compile(rb"ImFsZy|JhbGci|YWxnI|ImVuYy|JlbmMi|ZW5jI")


def check_connection_string(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """The address with its password, up to the end of the host and its path."""
    if buffer.find(b"://", start, end) < 0:
        value = buffer[start:end].rpartition(b"=")[2]
        return None if _CODE.match(value) or _PLACEHOLDER.search(value) else (start, end)
    if check_url_credentials(buffer, start, end, floor) is None:
        return None
    rest = _REST_OF_URL.match(buffer, end)
    return start, end if rest is None else rest.end()


def check_named(buffer: bytes, start: int, end: int, _floor: int) -> Span:
    """The value after a name such as `api_key`, if it looks random."""
    begin, is_said = _begin_of_value(buffer, start, end)
    value, is_quoted = _value_of(buffer, begin, end)
    # Most values in code are a word or a name.
    word = value.rstrip(b"=")
    if not is_quoted and buffer[begin + len(value) : begin + len(value) + 1] in (b"(", b"["):
        return None  # a call, an index
    if is_said and not is_quoted and (_TECHNICAL.match(value) or not _has_digit_and_letter(value)):
        return None
    if word.isalpha() and (word.islower() or word.isupper() or word.istitle()):
        return None
    if (
        not value
        or _CODE.match(value)
        or _PUBLIC_NAME.match(buffer, start)
        or _is_id(buffer[start:begin], value)
        or _is_constant(buffer[start:begin], value)
        or _is_placeholder(value)
    ):
        return None
    if buffer[start : start + 5].lower() == b"basic":
        return (begin, begin + len(value)) if _is_login(value) else None
    looks = _is_password if is_said or _PASSWORD_NAME.search(buffer, start, begin) else _is_named_key
    return (begin, begin + len(value)) if looks(value) else None


def _is_id(name: bytes, value: bytes) -> bool:
    """A UUID, unless its name says that it is a key: those of some services are UUIDs."""
    return _UUID.match(value) is not None and _KEY_NAME.search(name) is None


def _is_constant(name: bytes, value: bytes) -> bool:
    """A name of something under a constant's name: `STORAGE_KEY = "cookieConsent2024"`. A key has digits in several
    places."""
    if _ANY_KEY.match(name) is None or _SECRET_KEY.search(name):
        return False
    return len(_NUMBERS.findall(value)) < 2 or _PLACE.search(value) is not None


def _begin_of_value(buffer: bytes, start: int, end: int) -> tuple[int, bool]:
    """Where the value begins, and whether words stand before it ("my password is")."""
    found = _VALUE_START.search(buffer, start, end)
    if found is None or _IN_WORDS.search(buffer, start, found.start()) or buffer[found.end()] in _SAID_ON:
        said = _SAID.match(buffer, start, end)
        if said is not None:
            return said.end(), True
    return (found.end() if found is not None else buffer.rfind(b" ", start, end) + 1), False


# A sign before a value, or the last byte of one in another script, and the value as far as it goes.
_ANY_VALUE = re.compile(rb"[=>:\s\"'`\x80-\xff]\s{0,3}[\"'`]?([A-Za-z0-9+/_.~!@#$%^&*?\-]{8,})")
# Signs behind which a value in quotes goes on.
_SIGNS = frozenset(bytes([sign]) for sign in b"()[]{}<>|;,:\\=\"'`")
# A candidate begins at most so far before its value: a name of 30, 14 and 12 characters, and quotes, a sign and spaces.
_NAME_BYTES = 80


def sift_named(buffer: bytes, start: int) -> Iterator[tuple[int, int]]:
    """The places before each value that may be random: see detector.Sift."""
    for found in _ANY_VALUE.finditer(buffer, start):
        value, begin = found[1], found.start(1)
        rest, follower = value.translate(None, DIGITS), buffer[found.end() : found.end() + 1]
        if len(rest) < len(value):
            may_be = bool(rest)
        elif buffer[begin - 1] in b"\"'`" and follower in _SIGNS:
            may_be = True
        elif rest.islower() or rest.isupper():
            may_be = False
        else:
            may_be = (
                not rest.isalpha()
                or follower == b"="
                or buffer[max(begin - 8, 0) : begin].rstrip(b" =").lower().endswith(b"basic")
            )
        if may_be:
            yield max(begin - _NAME_BYTES, start), begin


def _is_placeholder(value: bytes) -> bool:
    return bool(_PLACEHOLDER.search(value) or _NOT_RANDOM.search(value))


def _value_of(buffer: bytes, begin: int, end: int) -> tuple[bytes, bool]:
    """Without what follows it, and whether it is in quotes: up to the same quote; or without the sentence's signs."""
    quote = buffer[begin - 1 : begin]
    if quote in _QUOTES:
        closing = buffer.find(quote, begin, begin + _MAX_VALUE_BYTES + 1)
        value = buffer[begin : max(closing, begin)]
        if value and not value.translate(None, _NO_SPACES) and value.isascii():
            return value, True
    found = _NOT_VALUE.search(buffer, begin, end)
    if found is not None:
        return buffer[begin : found.start()], False
    value = buffer[begin:end]
    return value if buffer[end : end + 1] in _QUOTES else value.rstrip(b".,;:!?"), False


def after_name(buffer: bytes, start: int, end: int) -> int:
    """Where to continue after a rejected value: at the value, which may be a name itself."""
    found = _VALUE_START.search(buffer, start, end)
    if found is not None and _IN_WORDS.search(buffer, start, found.start()) is None:
        return found.end()
    begin, is_said = _begin_of_value(buffer, start, end)
    return begin if is_said or found is not None else end


def after_candidate(_buffer: bytes, _start: int, end: int) -> int:
    """Where to continue after a rejected run of unbounded length."""
    return end


def _is_named_key(value: bytes) -> bool:
    # Of 32 random hexadecimal digits, one text in ten has less than 3.4 bits.
    least = _MIN_ENTROPY if _HEX_KEY.match(value) else _MIN_NAMED_ENTROPY
    return len(value) >= _MIN_KEY_BYTES and entropy(value) >= least and _has_digit_and_letter(value)


def _is_password(value: bytes) -> bool:
    """Eight characters at least, and of three kinds: small and large letters, digits, signs."""
    kinds = sum(kind.search(value) is not None for kind in _KINDS)
    return kinds >= _PASSWORD_KINDS or _is_named_key(value)


def _is_login(value: bytes) -> bool:
    """Whether it is a user's name and password (RFC 7617)."""
    try:
        return b":" in base64.b64decode(value.rstrip(b"=") + b"=" * (-len(value.rstrip(b"=")) % 4), validate=True)
    except binascii.Error:
        return False


def _has_digit_and_letter(value: bytes) -> bool:
    return bool(value.translate(None, DIGITS)) and any(byte in DIGITS for byte in value)


def _is_mixed(value: bytes) -> bool:
    """Whether it has two kinds of small letters, large letters and digits."""
    return (value != value.upper()) + (value != value.lower()) + (len(value.translate(None, DIGITS)) < len(value)) > 1


def entropy(value: bytes) -> float:
    """Shannon's, in bits a byte."""
    total = len(value)
    return -sum(count / total * math.log2(count / total) for count in Counter(value).values())


# pattern, check, where to continue, `longest_match_chars`
_BUILT_IN: dict[str, tuple[str, Check, Resume, int]] = {
    "private_key": (_BEGIN, check_private_key, next_byte, _MAX_KEY_BYTES),
    "aws_access_key": (r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b", check_exact, next_byte, 21),
    "aws_secret_key": (AWS_SECRET, check_named, after_name, 96),
    "google_api_key": (GOOGLE, check_prefixed, next_byte, 208),
    "azure_key": (AZURE, check_prefixed, next_byte, 112),
    "anthropic_key": (ANTHROPIC, check_prefixed, next_byte, 192),
    "openai_key": (OPENAI, check_prefixed, next_byte, 200),
    "provider_key": (rf"\b(?:{PROVIDERS})", check_prefixed, next_byte, 192),
    "github_token": (GITHUB, check_prefixed, next_byte, 256),
    "gitlab_token": (GITLAB, check_prefixed, next_byte, 88),
    "slack_token": (SLACK, check_prefixed, next_byte, 200),
    "stripe_key": (
        STRIPE,
        check_prefixed,
        next_byte,
        216,
    ),
    "package_token": (rf"\b(?:{PACKAGES})", check_whole, next_byte, 212),
    "service_token": (rf"\b(?:{SERVICES})", check_whole, next_byte, 232),
    "jwt": (JWT, check_jwt, after_candidate, _MAX_JWT_BYTES),
    "connection_string": (rf"{URL_CREDENTIALS}|{ADO}", check_connection_string, next_byte, 1024),
    "generic_secret": (rf"{NAMES}{GIVEN}{VALUE}|{BEARER}|{SAID}{VALUE}", check_named, after_name, 256),
}


_SIFTS: dict[str, Sift] = {"generic_secret": sift_named}


@cache
def _detector(name: str) -> Detector:
    """Compiled when it is first wanted: all of them take 2 MB, and most gateways use none."""
    source, check, resume, longest = _BUILT_IN[name]
    # Without regard to case, RE2 knows two more letters.
    is_prefixed = check is check_prefixed and "(?i" not in source
    sift = sift_by(re.compile(source.encode()), _may_be_prefixed) if is_prefixed else _SIFTS.get(name)
    return Detector(name, SECRET_LABELS[name], source, check, resume, longest, sift=sift)


def secret_finder(types: tuple[str, ...] | None) -> ByteFinder:
    """The detectors of these types; None: all. Raises: ValueError for an unknown type, with its name."""
    for name in types or ():
        if name not in SECRET_LABELS:
            raise ValueError(f"types: unknown type {name!r}")
    return ByteFinder(tuple(_detector(name) for name in SECRET_LABELS if types is None or name in types))
