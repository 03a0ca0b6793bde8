"""Finds IP addresses, and excludes look-alikes: versions, sections, slices, scopes of C++, hardware addresses.

Sources: RFC 4291 (how IPv6 is written); IANA's list of allocated IPv6 space (2001, 2002, 2003, 24xx, 26xx, 28xx, 2axx,
2cxx, and 3ffx for documents).
"""

from __future__ import annotations

import heapq
import ipaddress
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

from pg_trio.stages.guardrails.surroundings import KEPT_WINDOWS, NOT_DIGITS, WORD, Span, before, window_before, words_of

# Two colons at least, and a digit before, between or behind them: a run of colons alone is no candidate.
_HEX = "[0-9A-Fa-f]"
IPV6 = rf"(?:{_HEX}[0-9A-Fa-f:]*:[0-9A-Fa-f]*:|:+{_HEX}+:|::+{_HEX})[0-9A-Fa-f:]*(?:(?:\.\d{{1,3}}){{3}})?"
IPV4 = r"\b\d{1,3}(?:\.\d{1,3}){3,}\b"

# Every way to write 0 to 255 in at most three digits, leading zeros included.
_OCTETS = frozenset(f"{number:0{width}}".encode() for number in range(256) for width in (1, 2, 3))
# Six groups of four and an IPv4 address: the longest way to write an address.
_IPV6_CHARS = 45
# With this many groups beside "::" the form alone is enough.
_MANY_GROUPS = 4
# With fewer groups, an address must begin with an allocated prefix; `face::b2`, `1::2` and `a::b1` are code.
_PREFIX = re.compile(
    rb"(?i:2001|2002|2003|2[468ac][0-9a-f]{2}|3ff[ef]|f[cd][0-9a-f]{2}|fe[89ab][0-9a-f]|ff[0-9a-f]{2}|64:ff9b|100)::?"
)
_LOOPBACK = re.compile(rb"(?i:::1|::ffff:.+|::(?:\d{1,3}\.){3}\d{1,3})\Z")
# An index: a bracket after a name, a call, a string or another index, on the same line.
_INDEX = re.compile(rb"[\w)\]\"']\[[^\[\]\n]{0,40}\Z")
_SLICE_GROUPS = re.compile(rb"[0-9]{0,4}::[0-9]{0,4}\Z")

_PRIVATE = re.compile(rb"(?:10|127|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.")
# Words directly before a version, or before another version in front of it ("from 1.2.3.4 to 1.2.3.5").
_VERSION_WORDS = frozenset(
    "ver vers version versions versie versión v rv rev revision release releases released build firmware fw driver"
    " drivers fileversion productversion assemblyversion assemblyfileversion upgrade upgraded upgrades upgrading"
    " update updated updates updating downgrade downgraded bump bumped patch section sections sec § §§ chapter"
    " kapitel abschnitt ziffer clause clauses appendix annex table figure fig oid chrome chromium edge firefox"
    " opera safari webview electron openssl framework outlook excel photoshop acrobat java php mysql net studio"
    " sdk api jdk jre tag spec rule article requirement req item step kb hotfix schema level bios kernel ios"
    " android windows macos plugin extension module package library lib dll installer runtime edition beta alpha"
    " rc snapshot changelog since introduced deprecated fixed python ruby perl node nodejs golang rust gcc clang"
    " cmake gradle maven kotlin scala objectidentifier".encode().split()
)
# Products whose name stands before a version, but also before a private address of a machine that runs it.
_PRODUCTS = frozenset(
    b"postgresql postgres mariadb mongodb nginx apache httpd tomcat jenkins grafana elasticsearch kibana redis debian"
    b" ubuntu centos fedora oracle db2 sqlite teamviewer zoom slack vlc vmware virtualbox nvidia cuda cudnn skype"
    b" libreoffice gimp blender unity unreal drupal wordpress joomla magento typo3 moodle jira confluence".split()
)
_VERSION_CONNECTORS = frozenset(b"number no is was of to from and or through until n for notes".split())
_MAX_CONNECTORS = 3
# `Chrome/1.2.3.4` and `name-1.2.3.4`; and `name==1.2.3.4`, `>=1.2.3.4`, `^1.2.3.4`.
_BEHIND_NAME = re.compile(rb"(?:\A|[^/\w.-])[A-Za-z][\w-]{0,30}[/-]\Z")
_COMPARED = re.compile(rb"(?:[=<>~!]=|(?<![-=])[<>^~])[ \"']{0,2}\Z")
# These end like a comparison: a tag, a quoted mail's line, and a packet's way from the address before it.
_NOT_COMPARED = re.compile(
    rb"<[/!?]?[A-Za-z][^<>]*>\s*\Z|(?:\A|[\n\xfe])[> ]*> \Z|(?:\A|[\xff]|REDACTED\])(?:[.:][0-9]{1,5})? > \Z"
)
_CLOSED = re.compile(rb">|\s{0,8}</[A-Za-z]")
# What is compared with a number is an address by its name: `ip.src ==`, `remoteAddr !=`, `client == "…"`. But not
# `zip==1.2.3.4`, `mysql-client==1.2.3.4` and `server >= 1.2.3.4`: packages and their versions.
_ADDRESS_NAME = re.compile(
    rb"(?:(?<![A-Za-z0-9-])(?i:ipv?4?|addr|address|src|dst|host|hostname)|[a-z](?:Ip|IP|Addr|Address|Host))\W{0,4}\Z"
)
_PARTY_NAME = re.compile(rb"(?:(?<![A-Za-z0-9-])(?i:peer|server|client)|[a-z](?:Peer|Server|Client))\W{0,4}\Z")
_EQUALS = re.compile(rb"[=!]=[=]?[ \"']")
# tcpdump writes the port as a fifth number: "1.2.3.4.443 > 5.6.7.8.51234:".
_WAY = b" > "
# Behind an address, never behind a version: a port, a network's length, and the fields of a web server's log.
_SERVICE = re.compile(rb":[0-9]{2,5}(?![0-9.])|/(?:[89]|[12][0-9]|3[0-2])(?![0-9.])| - [\w.@-]{1,32} \[[0-9]{1,2}/")
# From this first number on, only words that always mean a version count: no product's version begins so.
_HIGH = 160
_CLEAR_VERSION_WORDS = frozenset(
    "ver vers version versions versie versión v rv rev revision release releases released build firmware fw driver"
    " drivers fileversion productversion assemblyversion assemblyfileversion oid objectidentifier".encode().split()
)
# `acme/widget@1.2.3.4`, "requires widget (1.2.3.4)"
_PACKAGE = re.compile(
    rb"[\w-]/[\w.-]{1,40}@\Z|\.so\.\Z"
    rb"|\b(?i:requires?|needs|install(?:s|ed|ing)?|depends on) [\w.-]{1,30}[^A-Za-z\n]{1,4}\Z"
)
# Endings that make it a version: 1.2.3.4-beta, 1.2.3.4.tar.gz, 1.2.3.4+build
_VERSION_TAIL = re.compile(
    rb"[\"')]{0,2} ?\((?i:build|x86|x64|r\d|[0-9a-f]{7,40}\b|(?:19|20)\d\d-)"
    rb"|-[0-9]{1,4}(?:[a-z~+]|\.(?:el|fc|amzn)[0-9])"
    rb"|[-+.](?i:alpha|beta|rc|dev|snapshot|final|release|preview|pre|post|build|hotfix|lts|ga|git|tar|tgz|zip|gz|dll"
    rb"|exe|msi|deb|rpm|jar|war|whl|gem|nupkg|dmg|pkg|apk|so|x86|x64|amd64|arm64|win|linux|el\d|ubuntu|py\d|cp\d)"
)
# "1.2.3.4 was the last stable release": words after a version.
_VERSION_BEHIND = re.compile(
    rb",? (?:(?:is|was|has|had|been|will|be|the|a|an|our|last|latest|new|newest|current|stable|first|next) ){1,5}"
    rb"(?:[a-z]{3,12} )?(?:release|released|version|build)\b"
)


# For Python's `re`, which finds many candidates faster than RE2 finds one by one: numbers with dots, and a run from its
# first colon on, if it has two adjacent colons or six.
_DOTTED = re.compile(rb"[0-9](?<![0-9A-Za-z_].)[0-9]{0,2}(?:\.[0-9]{1,3}){3,}\b", re.DOTALL)
_COLONS = re.compile(rb":(?=[0-9A-Fa-f]*(?::[0-9A-Fa-f]*){5}|[0-9A-Fa-f:]*?::|:)[0-9A-Fa-f:]*")
_WIDE_GROUP = re.compile(rb"[0-9A-Fa-f]{3}")
_HEX_DIGITS = b"0123456789abcdefABCDEF"


def sift_addresses(buffer: bytes, start: int) -> Iterator[tuple[int, int]]:
    """From where on to search for each address whose form is right: see detector.Sift."""
    return heapq.merge(_sift_ipv4(buffer, start), _sift_ipv6(buffer, start))


def _sift_ipv4(buffer: bytes, start: int) -> Iterator[tuple[int, int]]:
    for found in _DOTTED.finditer(buffer, start):
        octets = found[0].split(b".")
        is_short = len(octets) == 4 or (len(octets) == 5 and _is_way(buffer, *found.span()))
        if is_short and _OCTETS.issuperset(octets[:4]):
            yield found.span()


def _sift_ipv6(buffer: bytes, start: int) -> Iterator[tuple[int, int]]:
    for found in _COLONS.finditer(buffer, start):
        colon = found.start()
        begin = colon
        if buffer[colon - 1 : colon] in _HEX_DIGITS and colon > start:
            window = buffer[max(colon - _IPV6_CHARS, start) : colon]
            begin -= len(window) - len(window.rstrip(_HEX_DIGITS))
        text = buffer[begin : found.end()]
        # Beside a dot, an IPv4 address may end where this one begins, or be its last group.
        if _may_be_ipv6(text) or b"." in (buffer[begin - 1 : begin], buffer[found.end() : found.end() + 1]):
            yield begin, begin + text.rfind(b":") + 1


def _may_be_ipv6(text: bytes) -> bool:
    if b"::" in text:
        return text.startswith(b"::") or text.count(b":") >= _MANY_GROUPS or _PREFIX.match(text) is not None
    return _WIDE_GROUP.search(text) is not None


def check_address(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """The address, IPv4 or IPv6; IPv6 may end before the candidate does."""
    if buffer.find(b":", start, end) >= 0:
        return _check_ipv6(buffer, start, end, floor)
    return _check_ipv4(buffer, start, end, floor)


def _check_ipv4(buffer: bytes, start: int, end: int, floor: int) -> Span:
    octets = buffer[start:end].split(b".")
    # Five numbers with dots are a version or a section, not an address; or an address with a port.
    if len(octets) == 5 and _is_way(buffer, start, end):
        end -= len(octets.pop()) + 1
    if len(octets) != 4 or not _OCTETS.issuperset(octets):
        return None
    return None if _is_version(buffer, start, end, floor, octets) else (start, end)


def _is_way(buffer: bytes, start: int, end: int) -> bool:
    if buffer.startswith(_WAY, end):
        return buffer[end + 3 : end + 4].isdigit()
    return start > 3 and buffer.startswith(_WAY, start - 3) and buffer[start - 4] in b"0123456789]\xff"


def _is_version(buffer: bytes, start: int, end: int, floor: int, octets: list[bytes]) -> bool:
    if octets[1:] == [b"0", b"0", b"0"] and octets[0] not in (b"0", b"10", b"127") and buffer[end : end + 1] != b"/":
        return True  # 113.0.0.0: no host has such an address
    is_private = _PRIVATE.match(buffer, start) is not None
    if _VERSION_TAIL.match(buffer, end):
        return True
    if not is_private and buffer[end : end + 1] in (b",", b" ") and _VERSION_BEHIND.match(buffer, end):
        return True
    if _SERVICE.match(buffer, end):
        return False
    is_high = int(octets[0]) >= _HIGH or octets[0] == b"127"
    is_closed = _CLOSED.match(buffer, end) is not None
    said = _read_before(window_before(buffer, start, floor), (is_private, is_high, is_closed))
    if said != "name":
        return said == "version"
    # Java writes addresses as name/1.2.3.4:80. A version has no port, and does not begin like a private network.
    has_port = buffer[end : end + 1] == b":" and buffer[end + 1 : end + 2].isdigit()
    return not has_port and (not is_private or (buffer[start - 1 : start] == b"/" and octets[0] == b"10"))


@lru_cache(maxsize=KEPT_WINDOWS)
def _read_before(window: bytes, signs: tuple[bool, bool, bool]) -> Literal["version", "name", "nothing"]:
    """What the words before it say, by a window as `window_before` gives it, and these signs: it is a private address;
    it begins too high for a version; a tag or a bracket closes behind it."""
    is_private, is_high, is_closed = signs
    is_tagged = is_closed or _NOT_COMPARED.search(window) is not None
    window = before(window, len(window), 0)
    if not window:
        return "nothing"
    compared = None if is_tagged else _COMPARED.search(window)
    if compared is not None:
        return "nothing" if _names_address(window, compared.start()) else "version"
    words = words_of(window)
    if not is_private and not is_high and words and words[-1].lower() in _PRODUCTS:
        return "version"
    if _is_version_said(words, _CLEAR_VERSION_WORDS if is_high else _VERSION_WORDS) or _PACKAGE.search(window):
        return "version"
    return "nothing" if _BEHIND_NAME.search(window) is None else "name"


def _names_address(window: bytes, compared: int) -> bool:
    """Whether the name in front of a comparison, which begins there, is that of an address."""
    if _ADDRESS_NAME.search(window, 0, compared):
        return True
    return _EQUALS.match(window, compared) is not None and _PARTY_NAME.search(window, 0, compared) is not None


def _is_version_said(words: list[bytes], version_words: frozenset[bytes]) -> bool:
    for index in range(len(words) - 1, max(len(words) - 2 - _MAX_CONNECTORS, -1), -1):
        word = words[index].lower()
        if (
            word in version_words
            or word.endswith(b"version")
            or (word == b"server" and index and words[index - 1].lower() == b"sql")
        ):
            return True
        if word not in _VERSION_CONNECTORS:
            return False
    return False


def _check_ipv6(buffer: bytes, start: int, end: int, floor: int) -> Span:
    if (start > floor and buffer[start - 1] in WORD) or (end < len(buffer) and buffer[end] in WORD):
        return None
    # A colon after an address belongs to the sentence.
    if buffer.endswith(b":", start, end) and not buffer.endswith(b"::", start, end):
        end -= 1
    candidate = buffer[start:end]
    # C++ and Rust paths (std::cout, fe::ad) have no digit.
    if len(candidate) > _IPV6_CHARS or not candidate.translate(None, NOT_DIGITS):
        return None
    if not _is_ipv6_form(candidate) or _is_index(buffer, start, end, floor):
        return None
    try:
        ipaddress.IPv6Address(candidate.decode())
    except ValueError:
        return None
    return start, end


def _is_ipv6_form(candidate: bytes) -> bool:
    colons = candidate.count(b":")
    if b"::" in candidate:
        if colons >= _MANY_GROUPS and len(candidate.replace(b":", b" ").split()) >= _MANY_GROUPS:
            return True
        return bool(_PREFIX.match(candidate) or _LOOPBACK.match(candidate))
    # Times (12:30:45) have fewer colons; eight groups of two digits are a hardware address.
    return colons in (6, 7) and any(len(group) > 2 for group in candidate.split(b":"))


def _is_index(buffer: bytes, start: int, end: int, floor: int) -> bool:
    """`x[::1]`, `a[i, ::1]`, `f(x)[2001::2]`: a slice. An address in brackets has no name in front."""
    if not _SLICE_GROUPS.match(buffer[start:end]):
        return False
    window = before(buffer, start, floor)
    bracket = window.rfind(b"[")
    if bracket < 1 or _INDEX.match(window, bracket - 1) is None:
        return start > floor and buffer[start - 1] in b")]"
    # "[::1]" in quotes is an address: the same quote follows the bracket.
    quote = window[bracket - 1 : bracket]
    return not (quote in (b'"', b"'") and buffer[end : end + 1] == b"]" and buffer[end + 1 : end + 2] in (quote, b":"))


def rest_of_run(buffer: bytes, start: int, end: int) -> int:
    """Where to continue after a run that is not an address: after its last colon (`12:30:45:10.0.0.1`)."""
    colon = buffer.rfind(b":", start, end)
    return colon + 1 if colon > start else end
