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
# In documentation: a word for the password, a variable, a row of stars.
_PLACEHOLDER = re.compile(
    rb"(?i:pass(?:word|wd)?|pwd|secret|token|your[\w-]*|my[_-]?pass(?:word)?|x{3,}|[*.\xe2\x80\xa2\xa6]+)\Z"
    rb"|[$%]?[{(\[].*[})\]]\Z|\$[A-Za-z_]\w*\Z|%[A-Za-z_]+%?\Z",
    re.DOTALL,
)


def check_url_credentials(buffer: bytes, start: int, end: int, _floor: int) -> Span:
    """What stands between `://` and `@`."""
    begin = buffer.find(b"://", start, end) + 3
    at = buffer.rfind(b"@", begin, end)
    _, colon, password = buffer[begin:at].partition(b":")
    return None if colon and _PLACEHOLDER.match(password) else (begin, at)
