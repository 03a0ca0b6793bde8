"""The content types that a request body may have. A content coding is refused.

The published samples include a `curl -d` without a content type, for which curl declares a form. A browser's `fetch`
declares plain text. So both types are accepted, and the body decides whether it is a request.
"""

from __future__ import annotations

import re

from pg_trio.domain.secret import mask_client_text
from pg_trio.errors import BadRequest, ContentCodingUnsupported

JSON_TYPE = "application/json"
# The types of JSON bodies in practice: `curl -d` declares a form, a browser's `fetch` declares plain text.
_READ_AS_JSON = frozenset({JSON_TYPE, "text/plain", "application/x-www-form-urlencoded", ""})
# RFC 6839, section 3.1: any media type with this suffix is JSON.
_JSON_SUFFIX = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+\+json", re.ASCII)
# US-ASCII, the default of text/plain in RFC 2046, is UTF-8 as well.
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_PARAMETER = re.compile(r'\s*([a-z0-9!#$&^_.+-]+)=("[^"\\]*"|[a-z0-9!#$&^_.+-]+)\s*', re.ASCII)


def check_content_type(value: str | None) -> None:
    """Return if a JSON body may have this type (contract, "Request"). A charset, if there is one, must be UTF-8.

    Raises: BadRequest for anything else.
    """
    if value == JSON_TYPE or value is None:
        return
    media_type, *parameters = value.lower().split(";")
    media_type = media_type.strip(" \t")
    if media_type not in _READ_AS_JSON and _JSON_SUFFIX.fullmatch(media_type) is None:
        raise BadRequest("Content-Type must be application/json.")
    for parameter in parameters:
        # An empty parameter (a trailing semicolon) is common and means nothing (RFC 9110, section 5.6.6).
        if parameter.strip(" \t"):
            _check_parameter(parameter)


def check_content_coding(value: str) -> None:
    """Return if the body is not encoded (`identity`). Raises: ContentCodingUnsupported, with the first coding."""
    for coding in value.split(","):
        name = coding.strip(" \t")
        if name and name.lower() != "identity":
            raise ContentCodingUnsupported(mask_client_text(name))


def _check_parameter(parameter: str) -> None:
    found = _PARAMETER.fullmatch(parameter)
    if found is None:
        raise BadRequest("Content-Type has a malformed parameter.")
    if found[1] == "charset" and found[2].strip('"') not in _CHARSETS:
        raise BadRequest("Content-Type's charset must be utf-8.")
