"""Turn a body into a `ChatRequest`, or into a 400 that names the wrong part."""

from pg_trio.surfaces.gateway.read_request.chat_request import KNOWN_FIELDS, read_chat_request
from pg_trio.surfaces.gateway.read_request.content_type import JSON_TYPE, check_content_coding, check_content_type

__all__ = ["JSON_TYPE", "KNOWN_FIELDS", "check_content_coding", "check_content_type", "read_chat_request"]
