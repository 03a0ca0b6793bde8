"""Finds e-mail addresses, and excludes look-alikes: retina images, package versions, SSH remotes, code with a matrix
product.

Top-level domains are not checked against a list: new ones appear every year, and an address missing from an old list
would pass unmasked. File endings and a few words of code are checked instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pg_trio.stages.guardrails.surroundings import Span, before

LETTERS = r"\p{Latin}\p{Greek}\p{Cyrillic}"  # not \p{L}: in scripts without spaces it would take the sentence along
EMAIL = (
    rf"[{LETTERS}0-9!#$%&'*+/=?^_`{{|}}~.-]+@"
    rf"(?:[{LETTERS}0-9](?:[{LETTERS}0-9-]*[{LETTERS}0-9])?\.)+(?:xn--[A-Za-z0-9-]{{2,59}}|[{LETTERS}]{{2,24}})"
)

# These are not top-level domains (IANA's root zone, 2026-11): endings of files, systemd units, and words after a dot in
# code.
_NO_DOMAINS = frozenset(
    b"png jpg jpeg gif webp svg avif cur icns bmp ico tif tiff heic psd css scss less js mjs cjs jsx tsx json"
    b" jsonc html htm xml yaml yml toml ini cfg conf log txt csv tsv pdf doc docx xls xlsx ppt pptx tar gz tgz xz"
    b" rar whl jar dll exe deb rpm dmg iso wav ogg webm avi mkv ttf woff eot lock map vue svelte cpp hpp hh kt"
    b" swift lua sql sqlite db bak tmp swp min module ts patch diff pyc pyi ipynb tfvars proto wasm snap spec"
    b" service socket timer mount automount device swap path slice scope transpose reshape weight bias shape size"
    b" dtype grad flatten permute view sum inverse conj setter getter deleter value values item items length"
    b" names self this alpha beta rc canary nightly snapshot final release stable pre preview".split()
)
# User names of version control servers: git@github.com:acme/widgets.git
_REMOTE_USERS = frozenset(b"git gitea gitlab gogs forgejo hg svn aur vcs org repo bitbucket github codecommit".split())
_VERSION = re.compile(rb"v?\d+(?:\.\d+)*(?:\.\d|-)|sha[0-9]{1,3}\.")
_RETINA = re.compile(rb"[0-9.]+x\.")
# An SSH path: a colon, then a path that is not a port.
_SSH_PATH = re.compile(rb":(?:[~/]|(?:\d{1,5}/)?[\w.~-]*[A-Za-z_~][\w.~-]*/|[\w./~-]{1,200}\.git\b)")
# Signs that RFC 5321 allows in a name, but that mostly stand around one: quotes, Markdown, a shell's options, an
# escaped sign of a URL. So do these anywhere in it.
_AROUND = re.compile(rb"(?:%(?:2[0-9A-Fa-f]|3[A-Fa-f]|5[BDbd]|7[B-Db-d])|[!#$%&'*+/=?^`{|}~.-])+")
_SEPARATORS = (b"|", b"`", b"{", b"}", b"?")
# `email=max@…`, `&to=max@…`, `--user=max@…`: but not in `customer/department=shipping@…`.
_KEY = re.compile(rb"(?:\A|[&;'])-{0,2}[A-Za-z_][A-Za-z0-9_.-]{0,30}=\Z")
_LOCAL_END = re.compile(rb"[A-Za-z0-9_.-]+\Z")
_MESSAGE_ID = re.compile(rb"(?i:message-?_?id|in-reply-to|references|msgid)\W{0,6}<\Z")


# The first label of a domain and the rest of it, unless it begins like a version.
_DOMAIN = re.compile(rb"@(?![vV]?[0-9]+(?:\.[0-9]|-))([0-9A-Za-z-]+\.)?([0-9A-Za-z\x80-\xff.-]*)")


def sift_emails(buffer: bytes, start: int) -> Iterator[tuple[int, int]]:
    """From where on to search for each address that does not end like a file's name: see detector.Sift."""
    for found in _DOMAIN.finditer(buffer, start):
        if found[1] is None or found[2].lower() not in _NO_DOMAINS:
            yield max(buffer.rfind(b"@", start, found.start()) + 1, start), found.start() + 1


def check_email(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """The address, or None for a file's name, a version, an SSH remote, or code."""
    at = buffer.rfind(b"@", start, end)
    domain = buffer[at + 1 : end].lower()
    if _VERSION.match(domain) or not _has_top_level(domain):
        return None
    follower = buffer[end : end + 1]
    if (
        follower == b"(" and end - buffer.rfind(b".", start, end) > 4
    ):  # a method's name: com, org and the countries' domains are shorter
        return None
    if follower in (b":", b"/") and _is_remote(buffer, start, at, end):
        return None
    if start > floor and buffer[start - 1] == 0x3C and _MESSAGE_ID.search(before(buffer, start, floor)):  # 0x3C is "<"
        return None
    return _begin_of_name(buffer, start, at), end


def _begin_of_name(buffer: bytes, start: int, at: int) -> int:
    """Where the name begins, without what stands in front of it."""
    name = buffer[start:at]
    if buffer[start] not in b"_.+-" and name.translate(None, b"_.+-").isalnum():
        return start
    if name.startswith(b"//") and buffer[start - 1 : start] == b":":
        name = name[name.rfind(b"/") + 1 :]  # of a URL
    name = name[max(name.rfind(sign) for sign in _SEPARATORS) + 1 :]
    # `--user=max`, `&to='max`
    for _ in range(2):
        around = _AROUND.match(name)
        if around is not None and around.end() < len(name):
            name = name[around.end() :]
        value = name.rfind(b"=") + 1
        if 0 < value < len(name) and _KEY.search(name, max(value - 40, 0), value):
            name = name[value:]
    return at - len(name)


def _has_top_level(domain: bytes) -> bool:
    """Whether a possible top-level domain is left after removing file endings: max@example.com.pdf."""
    name, _, ending = domain.rpartition(b".")
    if ending not in _NO_DOMAINS:
        return True
    while ending in _NO_DOMAINS:
        name, _, ending = name.rpartition(b".")
    return bool(name) and len(ending) > 1 and ending.isalpha() and not _RETINA.match(domain)


def _is_remote(buffer: bytes, start: int, at: int, end: int) -> bool:
    """`git@host:path`, `ssh://git@host/path`, `user@host:/path`: a login of a program."""
    if _SSH_PATH.match(buffer, end):
        return True
    local = _LOCAL_END.search(buffer, max(start, at - 64), at)
    if local is None or local[0].lower() not in _REMOTE_USERS:
        return False
    return (
        buffer[end] == 0x3A or buffer[max(start, at - 64) : at].startswith(b"//") or buffer[start - 2 : start] == b"//"
    )


def after_at(buffer: bytes, start: int, end: int) -> int:
    """Where to continue after a rejected address: its domain may be the next address's name, but its name was checked
    completely."""
    return buffer.rfind(b"@", start, end) + 1
