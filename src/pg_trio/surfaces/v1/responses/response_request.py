"""Turn the body of a Responses request into a `ChatRequest`, or into a 400 that names the wrong field.

Rules, beside those of input_items.py, function_tools.py and answer_settings.py:
1. `instructions` are a system message before everything else, also before a stored conversation. They hold for one
   answer, so no session stores them.
2. On an endpoint with sessions, a response starts one unless `store` is false. The session's id is the request's own,
   so that the response's id can name it before the answer is there.
3. `previous_response_id` resumes the session that the id names, and only where that response is the session's latest.
   With `store: false` the turn is not stored, and the session stays as it is.
4. A request that only quotes answers of a session (`item_reference`) has its own conversation, and starts a session.

Source: OpenAI's openapi.yaml, CreateResponse, read 2026-11.
"""

from __future__ import annotations

from uuid import UUID

from pg_trio.domain.call import ReadLimits, RequestHead
from pg_trio.domain.chat import ChatRequest, Message, SessionTerms
from pg_trio.errors import BadRequest
from pg_trio.surfaces.reading.field_checks import check_text, read_flag
from pg_trio.surfaces.reading.json_body import literal_keys, read_json_object
from pg_trio.surfaces.v1.responses.answer_settings import (
    KNOWN_FIELDS,
    Fields,
    check_refused,
    read_options,
    read_unknown,
)
from pg_trio.surfaces.v1.responses.function_tools import read_function_tools
from pg_trio.surfaces.v1.responses.input_items import ReadInput, read_input
from pg_trio.surfaces.v1.responses.response_id import ResponseIds
from pg_trio.surfaces.v1.routes import read_model

_KEYS = literal_keys(KNOWN_FIELDS)
# The nil UUID (RFC 9562, 5.9). No session has it, so it is refused like any other session that does not exist.
_NO_RESPONSE = ResponseIds(UUID(int=0), "")


def read_response_request(body: bytes, limits: ReadLimits, head: RequestHead) -> ChatRequest:
    """The request in the body, for the model that it names. Raises: BadRequest naming the field."""
    fields = read_json_object(body, limits.max_json_depth, _KEYS)
    model = read_model(fields.get("model"))
    check_refused(fields)
    previous = _read_previous(fields)
    given = read_input(fields.get("input"), limits.max_messages, continues=previous is not None)
    stream = fields.get("stream") is not None and read_flag(fields["stream"], "stream")
    chosen = read_function_tools(fields.get("tools"), fields.get("tool_choice"))
    options, unknown = read_options(fields), read_unknown(fields)
    instructions = _read_instructions(fields)
    return ChatRequest(
        (*instructions, *given.messages),
        fields,
        stream=stream,
        session_id=given.quoted_id if previous is None else previous.session_id,
        tools=chosen.tools,
        tool_choice=chosen.choice,
        options=options,
        model=model,
        unknown=unknown,
        session_terms=_make_terms(fields, previous, given, head.request_id),
    )


def _make_terms(fields: Fields, previous: ResponseIds | None, given: ReadInput, request_id: UUID) -> SessionTerms:
    stores, instructions = fields.get("store") is not False, len(_read_instructions(fields))
    return SessionTerms(
        starts=stores,
        new_id=request_id,
        resumed_tag=None if previous is None else previous.tag,
        instructions=instructions,
        keeps_turn=stores,
        tag=ResponseIds.make(request_id).tag,
        quotes={instructions + place: tag for place, tag in given.quotes.items()},
        resumes=given.quoted_id is None or previous is not None,
    )


def find_ids(request: ChatRequest, request_id: UUID) -> ResponseIds:
    """The ids of the response to this request."""
    terms = request.session_terms
    return ResponseIds.make(request_id, request.session_id if terms.resumes and terms.keeps_turn else None)


def _read_previous(fields: Fields) -> ResponseIds | None:
    """The response that is continued; None for a request without one."""
    given = fields.get("previous_response_id")
    if given is None:
        return None
    check_text(given, "previous_response_id")
    return ResponseIds.read_response(given) or _NO_RESPONSE


def _read_instructions(fields: Fields) -> tuple[Message, ...]:
    given = fields.get("instructions")
    if given is None or given == "":
        return ()
    if not isinstance(given, str):
        raise BadRequest("instructions: must be a string.")
    return (Message("system", given),)
