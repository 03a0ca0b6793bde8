"""A user name and password, or a token, inside a URL (RFC 3986, 3.2.1). The scheme and the host stay."""

from __future__ import annotations

import re

from pg_trio.stages.guardrails.surroundings import Span

_USER_CHARS, _PASSWORD_CHARS = 64, 128
# A user name alone is a login (git@host); of twenty characters and more it is a token.
_TOKEN_CHARS = 20
_END = r"[A-Za-z0-9\[]"
URL_CREDENTIALS = (
    rf"\b[A-Za-z][A-Za-z0-9+.\-]{{1,20}}://"
    rf"(?:[^\s/@:\"'<>?#]{{0,{_USER_CHARS}}}:[^\s@/\"'<>]{{1,{_PASSWORD_CHARS}}}"
    rf"|[A-Za-z0-9_.~%\-]{{{_TOKEN_CHARS},{_PASSWORD_CHARS}}})@{_END}"
)
# In documentation: a variable, a row of stars or x, and words for the user and the password (`user:password@`).
_PLACEHOLDER = re.compile(
    rb"(?i:your[\w-]*|my[_-]\w+|x{3,}|[*.\xe2\x80\xa2\xa6]+)\Z|[$%]?[{(\[].*[})\]]\Z|\$[A-Za-z_]\w*\Z|%[A-Za-z_]+%?\Z",
    re.DOTALL,
)
_ANY_USER = frozenset(b"user userid username usr name login me foo account youruser myuser your_user".split()) | {b""}
_ANY_PASSWORD = frozenset(b"password passwd pass pwd pw secret token bar mypassword".split())


def check_url_credentials(buffer: bytes, start: int, end: int, _floor: int) -> Span:
    """What stands between `://` and `@`."""
    begin = buffer.find(b"://", start, end) + 3
    at = buffer.rfind(b"@", begin, end)
    user, colon, password = buffer[begin:at].partition(b":")
    if colon and (_PLACEHOLDER.match(password) or (user.lower() in _ANY_USER and password.lower() in _ANY_PASSWORD)):
        return None
    return begin, at
