"""The stage `read_request`: a body becomes a `ChatRequest`, or a 400 that says which part of it is wrong."""

from pg_trio.stages.read_request.content_type import check_content_coding, check_content_type
from pg_trio.stages.read_request.stage import KNOWN_FIELDS, read_chat_request

__all__ = ["KNOWN_FIELDS", "check_content_coding", "check_content_type", "read_chat_request"]
