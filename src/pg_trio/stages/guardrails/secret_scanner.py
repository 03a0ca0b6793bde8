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
from pg_trio.stages.guardrails.surroundings import DIGITS, Check, Span
from pg_trio.stages.guardrails.url_credentials import URL_CREDENTIALS, check_url_credentials

# Bits a character: random hexadecimal text has 4 at most, Base64 6; words and names of variables have 2 to 3.5.
_MIN_ENTROPY = 3.0
_MIN_NAMED_ENTROPY = 3.4
# 16 KiB: a key of RSA with 8,192 bits has 6.4 KB.
_MAX_KEY_BYTES = 16 * 1024
# 4,096: tokens with many claims. Proxies refuse longer headers.
_MAX_JWT_BYTES = 4096

_W = r"[A-Za-z0-9_\-]"
_H = r"[0-9a-f]"
_A = r"[A-Za-z0-9]"

_PROVIDERS = (
    rf"hf_{_A}{{30,40}}|gsk_{_A}{{40,60}}|xai-{_A}{{60,90}}|r8_{_A}{{37}}|sk-or-v1-{_H}{{64}}|pplx-{_A}{{40,60}}"
    rf"|nvapi-{_W}{{60,70}}|csk-[a-z0-9]{{48}}|tgp_v1_{_W}{{40,50}}|fw_{_A}{{22,28}}|sk-lf-{_H}{{8}}-[0-9a-f\-]{{27}}"
    rf"|lsv2_(?:pt|sk)_{_H}{{32}}_{_H}{{10}}|jina_{_A}{{60}}|pcsk_{_W}{{60,80}}|voyage-{_W}{{40,50}}|pa-{_W}{{43}}"
)
_PACKAGES = (
    rf"npm_{_A}{{36}}|pypi-AgE{_W}{{50,200}}|rubygems_{_H}{{48}}|dckr_(?:pat|oat)_{_W}{{27,32}}|cio{_A}{{32}}"
    r"|oy2[a-z0-9]{43}"
)
_SERVICES = (
    rf"pg_(?:live|test|tmp)_{_A}{{16,80}}"
    rf"|SG\.{_W}{{20,24}}\.{_W}{{39,50}}|SK{_H}{{32}}|\d{{8,10}}:AA{_W}{{33}}|do[opr]_v1_{_H}{{64}}"
    rf"|[MNO]{_W}{{23,25}}\.{_W}{{6}}\.{_W}{{27,38}}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{{32}}|sq0(?:atp|csp|idp)-{_W}{{22,43}}"
    rf"|key-{_H}{{32}}|{_H}{{32}}-us\d{{1,2}}|NRAK-[A-Z0-9]{{27}}|dapi{_H}{{32}}(?:-\d)?|lin_api_{_A}{{40}}|ntn_{_A}{{40,50}}"
    rf"|ATATT3{_W}{{100,220}}|hv[sb]\.{_W}{{24,200}}|glsa_{_A}{{32}}_{_H}{{8}}|sntrys_{_W}{{60,200}}|dp\.(?:pt|st|ct)\.{_W}{{40,60}}"
    rf"|PMAK-{_H}{{24}}-{_H}{{34}}|HRKU-{_W}{{36,70}}|sbp_{_H}{{40}}|AGE-SECRET-KEY-1[0-9A-Z]{{58}}|EAA[A-Z]{_A}{{60,220}}"
    rf"|PK[A-Z0-9]{{18}}|figd_{_W}{{40,50}}|phc?x?_{_A}{{40,50}}|rdme_[a-z0-9]{{70}}|tfp_{_W}{{50,70}}|pul-{_H}{{40}}"
)
_NAMES = (
    r"(?i:\b[A-Za-z0-9_.\-]{0,30}(?:api[_\-]?key|access[_\-]?key|secret[_\-]?key|auth[_\-]?key|private[_\-]?key"
    r"|encryption[_\-]?key|signing[_\-]?key|account[_\-]?key|token|secret|passw(?:or)?d|passwort|kennwort|passphrase|pwd"
    r"|credentials?|auth))[A-Za-z0-9_]{0,12}"
)
_GIVEN = r"[\"'`\]]{0,2}\s{0,3}(?::=|=>|=|:)\s{0,3}[\"'`]{0,1}"
_VALUE = r"[A-Za-z0-9+/_.~!@#$%^&*?\-]{8,200}={0,2}"
_BEARER = r"(?i:\bbearer|\bbasic|\bx-api-key:) {1,3}[A-Za-z0-9+/=_.~\-]{16,200}"
_ADO = (
    r"(?i:\b(?:server|data source|host|addr(?:ess)?|accountname|endpoint)) ?=[^;=\n]{1,100};"
    r"(?:[^;\n]{0,60};){0,8}?\s?(?i:password|pwd|accountkey|sharedaccesskey) ?=[^;\s\"']{3,128}"
)

_BEGIN = r"-----BEGIN (?:[A-Z0-9]{2,9} ){0,3}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d:"
_END_OF_KEY = re.compile(rb"-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----|Private-MAC: ?[0-9a-f]+")
_BODY_OF_KEY = re.compile(rb"(?:[A-Za-z0-9+/=\s:,]|\\[nr]|-(?!-))*")
_JWT = rf"\beyJ{_W}{{8,}}\.{_W}{{2,}}\.{_W}*"

# Without its last line, only whole lines of Base64 belong to it.
_CUT_BODY = re.compile(rb"(?:\s|\\[nr]|[A-Za-z0-9+/=]{20,80}(?![A-Za-z]))*")
_END_BYTES = 80

_PLACEHOLDER = re.compile(
    rb"(?i)example|sample|dummy|placeholder|your[_-]|my[_-]|change[_-]?me|redacted|x{4}|\*{4}|<|>|\.\.\.|insert[_-]|fake"
)
# Beside these in a value that only its name makes a secret.
_NOT_RANDOM = re.compile(rb"(?i)1234567890|abcdefgh|test[_-]?key|not[_-]?a|qwerty")
_REST_OF_URL = re.compile(rb"[^\s\"'<>`]{0,200}")
_UUID = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
# Code, not a value: a call, an attribute, a template, a path, a date, a version.
_CODE = re.compile(
    rb"(?:[A-Za-z_]\w*[.\[(])+|[$%]?[{(<]|\$|%|process\.env|os\.environ|https?:|[./~]*/[\w./-]*\Z|[0-9.:-]+\Z"
)
_PASSWORD_NAME = re.compile(rb"(?i)pass|pwd|kennwort")
_KINDS = tuple(re.compile(kind) for kind in (rb"[a-z]", rb"[A-Z]", rb"[0-9]", rb"[^A-Za-z0-9]"))
_PASSWORD_KINDS = 3
_MIN_KEY_BYTES = 16
# The longest part of a prefix that would count as a kind: "AI" of "AIza".
_PREFIX_BYTES = 4
_NOT_VALUE = re.compile(rb"[\"'`\s,;<>()\[\]{}]")
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
    found = _VALUE_START.search(buffer, start, end)
    begin = found.end() if found is not None else buffer.rfind(b" ", start, end) + 1
    value = _value_of(buffer, begin, end)
    # Most values in code are a word or a name.
    word = value.rstrip(b"=")
    if buffer[begin + len(value) : begin + len(value) + 1] in (b"(", b"["):
        return None  # a call, an index
    if word.isalpha() and (word.islower() or word.isupper() or word.istitle()):
        return None
    if not value or _CODE.match(value) or _UUID.match(value) or _is_placeholder(value):
        return None
    looks = _is_password if _PASSWORD_NAME.search(buffer, start, begin) else _is_named_key
    return (begin, begin + len(value)) if looks(value) else None


# A sign before a value, and the value as far as it goes.
_ANY_VALUE = re.compile(rb"[=>: ]\s{0,3}[\"'`]?([A-Za-z0-9+/_.~!@#$%^&*?\-]{8,})")
# A candidate begins at most so far before its value: a name of 30, 14 and 12 characters, and quotes, a sign and spaces.
_NAME_BYTES = 80


def sift_named(buffer: bytes, start: int) -> Iterator[tuple[int, int]]:
    """The places before each value that may be random: see detector.Sift."""
    for found in _ANY_VALUE.finditer(buffer, start):
        rest = found[1].translate(None, DIGITS)
        has_digits = len(rest) < len(found[1])
        # Digits and others; or small and large letters and signs.
        if rest if has_digits else not rest.isalpha() and rest.lower() != rest != rest.upper():
            yield max(found.start(1) - _NAME_BYTES, start), found.start(1)


def _is_placeholder(value: bytes) -> bool:
    return bool(_PLACEHOLDER.search(value) or _NOT_RANDOM.search(value))


def _value_of(buffer: bytes, begin: int, end: int) -> bytes:
    """Without what follows it: a quote, or the sentence's signs if it stands in none."""
    found = _NOT_VALUE.search(buffer, begin, end)
    if found is not None:
        return buffer[begin : found.start()]
    value = buffer[begin:end]
    return value if buffer[end : end + 1] in (b'"', b"'", b"`") else value.rstrip(b".,;:!?")


def after_name(buffer: bytes, start: int, end: int) -> int:
    """Where to continue after a rejected value: at the value, which may be a name itself."""
    found = _VALUE_START.search(buffer, start, end)
    return end if found is None else found.end()


def after_candidate(_buffer: bytes, _start: int, end: int) -> int:
    """Where to continue after a rejected run of unbounded length."""
    return end


def _is_named_key(value: bytes) -> bool:
    return len(value) >= _MIN_KEY_BYTES and entropy(value) >= _MIN_NAMED_ENTROPY and _has_digit_and_letter(value)


def _is_password(value: bytes) -> bool:
    """Eight characters at least, and of three kinds: small and large letters, digits, signs."""
    kinds = sum(kind.search(value) is not None for kind in _KINDS)
    return kinds >= _PASSWORD_KINDS or _is_named_key(value)


def _has_digit_and_letter(value: bytes) -> bool:
    return bool(value.translate(None, DIGITS)) and any(byte in DIGITS for byte in value)


def _is_mixed(value: bytes) -> bool:
    """Whether it has two kinds of small letters, large letters and digits."""
    return (value != value.upper()) + (value != value.lower()) + (len(value.translate(None, DIGITS)) < len(value)) > 1


def entropy(value: bytes) -> float:
    """Shannon's, in bits a byte."""
    total = len(value)
    return -sum(count / total * math.log2(count / total) for count in Counter(value).values())


_AWS_SECRET = (
    rf"(?i:\b[a-z0-9_]{{0,16}}(?:aws|amazon|secret))[A-Za-z0-9_ .\-]{{0,30}}{_GIVEN}"
    r"[A-Za-z0-9/+]{40}(?:[^A-Za-z0-9/+=]|\z)"
)
_OPENAI = rf"\bsk-(?:proj|svcacct|admin|None)-{_W}{{20,180}}|\bsk-{_A}{{20,80}}\b"
_GITHUB = rf"\bgh[pousr]_{_A}{{36,251}}|\bgithub_pat_[A-Za-z0-9_]{{36,90}}"
_GITLAB = rf"\bgl(?:pat|dt|ptt|rt|agent|oas|cbt|ft|imt|soat|ffct)-{_W}{{20,60}}"
_SLACK = (
    rf"\bxox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9\-]{{10,180}}|\bxapp-\d-[A-Z0-9]{{8,14}}-\d{{8,14}}-{_A}{{40,80}}"
    r"|\bhooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/]{20,120}"
)
_AZURE = rf"\b(?i:AccountKey|SharedAccessKey)=[A-Za-z0-9+/]{{43,86}}={{1,2}}|\b{_A}{{3}}\dQ~[A-Za-z0-9_~.\-]{{31,34}}"
# pattern, check, where to continue, `longest_match_chars`
_BUILT_IN: dict[str, tuple[str, Check, Resume, int]] = {
    "private_key": (_BEGIN, check_private_key, next_byte, _MAX_KEY_BYTES),
    "aws_access_key": (r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b", check_exact, next_byte, 21),
    "aws_secret_key": (_AWS_SECRET, check_named, after_name, 96),
    "google_api_key": (rf"\b(?:AIza{_W}{{35}}|GOCSPX-{_W}{{28}}|ya29\.{_W}{{20,200}})", check_prefixed, next_byte, 208),
    "azure_key": (_AZURE, check_prefixed, next_byte, 112),
    "anthropic_key": (rf"\bsk-ant-{_W}{{20,180}}", check_prefixed, next_byte, 192),
    "openai_key": (_OPENAI, check_prefixed, next_byte, 200),
    "provider_key": (rf"\b(?:{_PROVIDERS})", check_prefixed, next_byte, 96),
    "github_token": (_GITHUB, check_prefixed, next_byte, 256),
    "gitlab_token": (_GITLAB, check_prefixed, next_byte, 72),
    "slack_token": (_SLACK, check_prefixed, next_byte, 200),
    "stripe_key": (
        rf"\b[rs]k_(?:live|test)_{_A}{{16,200}}|\bwhsec_[A-Za-z0-9+/]{{24,64}}=?",
        check_prefixed,
        next_byte,
        216,
    ),
    "package_token": (rf"\b(?:{_PACKAGES})\b", check_prefixed, next_byte, 212),
    "service_token": (rf"\b(?:{_SERVICES})\b", check_prefixed, next_byte, 232),
    "jwt": (_JWT, check_jwt, after_candidate, _MAX_JWT_BYTES),
    "connection_string": (rf"{URL_CREDENTIALS}|{_ADO}", check_connection_string, next_byte, 1024),
    "generic_secret": (rf"{_NAMES}{_GIVEN}{_VALUE}|{_BEARER}", check_named, after_name, 256),
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
