"""Turn the body of a Responses request into a `ChatRequest`, or into a 400 that names the wrong field.

Rules, beside those of input_items.py, function_tools.py and answer_settings.py:
1. `instructions` are a system message before everything else, also before a stored conversation. They hold for one
   answer, so no session stores them.
2. On an endpoint with sessions, a response starts one unless `store` is false. The session's id is the request's own,
   so that the response's id can name it before the answer is there.
3. `previous_response_id` resumes the session that the id names, and only where that response is the session's latest.
   With `store: false` the turn is not stored, and the session stays as it is.

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
from pg_trio.surfaces.v1.responses.input_items import read_input
from pg_trio.surfaces.v1.responses.response_id import SessionPoint, read_response_id
from pg_trio.surfaces.v1.routes import read_model

_KEYS = literal_keys(KNOWN_FIELDS)
# The nil UUID (RFC 9562, 5.9). No session has it, so it is refused like any other session that does not exist.
_NO_SESSION = SessionPoint(UUID(int=0), 0)


def read_response_request(body: bytes, limits: ReadLimits, head: RequestHead) -> ChatRequest:
    """The request in the body, for the model that it names. Raises: BadRequest naming the field."""
    fields = read_json_object(body, limits.max_json_depth, _KEYS)
    model = read_model(fields.get("model"))
    check_refused(fields)
    previous = _read_previous(fields)
    messages = read_input(fields.get("input"), limits.max_messages, continues=previous is not None)
    stream = fields.get("stream") is not None and read_flag(fields["stream"], "stream")
    chosen = read_function_tools(fields.get("tools"), fields.get("tool_choice"))
    options, unknown = read_options(fields), read_unknown(fields)
    instructions = _read_instructions(fields)
    stores = fields.get("store") is not False
    return ChatRequest(
        (*instructions, *messages),
        fields,
        stream=stream,
        session_id=None if previous is None else previous.session_id,
        tools=chosen.tools,
        tool_choice=chosen.choice,
        options=options,
        model=model,
        unknown=unknown,
        session_terms=SessionTerms(
            starts=stores,
            new_id=head.request_id,
            resumed_messages=None if previous is None else previous.messages,
            instructions=len(instructions),
            keeps_turn=stores,
        ),
    )


def find_point(request: ChatRequest) -> SessionPoint | None:
    """Where the request's session is after the turn, if the endpoint has sessions; None if the turn is not stored."""
    terms = request.session_terms
    if not terms.keeps_turn:
        return None
    session_id = request.session_id or terms.new_id
    assert session_id is not None
    # The answer is one message more.
    return SessionPoint(session_id, (terms.resumed_messages or 0) + len(request.messages) - terms.instructions + 1)


def _read_previous(fields: Fields) -> SessionPoint | None:
    """The session that is continued; None for a request without one."""
    given = fields.get("previous_response_id")
    if given is None:
        return None
    check_text(given, "previous_response_id")
    return read_response_id(given) or _NO_SESSION


def _read_instructions(fields: Fields) -> tuple[Message, ...]:
    given = fields.get("instructions")
    if given is None or given == "":
        return ()
    if not isinstance(given, str):
        raise BadRequest("instructions: must be a string.")
    return (Message("system", given),)
