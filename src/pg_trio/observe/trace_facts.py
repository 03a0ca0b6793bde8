"""What the exporting process is told of a request that has ended: one line of JSON, a flat list, from which it builds
the spans (span_building.py).

Rules:
1. At a request's end the worker only keeps what the record drops then. The line is made later, with others, so that the
   request does not wait for it.
2. Texts of prompts and answers are in it only if they are to be exported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import orjson

from pg_trio.domain.chat import ChatRequest, Reply, Usage
from pg_trio.domain.log_body import BodyBudget
from pg_trio.domain.log_row import AttemptRow
from pg_trio.recorder import RequestOutcome, RequestRecord

# 16,384 characters of texts for each attribute, as the log keeps of a body by default.
CONTENT_CHARS = 16_384
# Of names that clients choose. Masking looks at 2,000 characters and keeps 64 (domain/secret.py).
_NAME_CHARS = 2048

# By credential: address and port of its provider.
Servers: TypeAlias = Mapping[str, tuple[str, int]]
_Row: TypeAlias = Sequence[Any]


class TraceFacts(NamedTuple):
    """A request, as its line states it. `at` is Unix seconds of the head, all other times are milliseconds since then.

    `traceparent` is the client's header, unread. `project` and `slug` are the client's words, not masked yet;
    `project_slug` and `endpoint` the names of the configuration that they led to. `usage` is the tokens of Usage in
    their order, `asked` the options that attributes name (ASKED), `rows` the values of AttemptRow.
    """

    request_id: str
    at: float
    traceparent: str | None
    surface: str
    project: str
    slug: str
    project_slug: str | None
    endpoint: str | None
    client_address: str | None
    status: int
    kind: str
    code: str | None
    text: str | None
    latency_ms: float
    first_token_ms: float | None
    provider: str | None
    model: str | None
    usage: list[Any] | None
    cost_nano_usd: int | None
    asked: list[Any] | None
    finish_reason: str | None
    reply_id: str | None
    content: list[Any] | None
    rows: list[Any]

    @property
    def attempts(self) -> list[AttemptRow]:
        """The candidates that were considered, in order."""
        return [AttemptRow(*row) for row in self.rows]


# The attributes of `asked`, in its order.
ASKED = (
    "gen_ai.request.max_tokens",
    "gen_ai.request.temperature",
    "gen_ai.request.top_p",
    "gen_ai.request.frequency_penalty",
    "gen_ai.request.presence_penalty",
    "gen_ai.request.seed",
    "gen_ai.conversation.id",
    "gen_ai.request.stream",
)
# The attributes of `content`, in its order.
CONTENT = ("gen_ai.input.messages", "gen_ai.output.messages")

_NUMBER = (int, float)
_NOTHING = type(None)
_TEXT = (str, _NOTHING)
_LIST = (list, _NOTHING)
# What `isinstance` takes.
_Types: TypeAlias = type | tuple[type, ...]
_TYPES: tuple[_Types, ...] = (
    *(str, _NUMBER, _TEXT, str, str, str, _TEXT, _TEXT, _TEXT),
    *(int, str, _TEXT, _TEXT, _NUMBER, (*_NUMBER, _NOTHING), _TEXT, _TEXT),
    *(_LIST, (int, _NOTHING), _LIST, _TEXT, _TEXT, _LIST, list),
)
_ROW_TYPES: tuple[_Types, ...] = (str, str, str, _NUMBER, _NUMBER, str, (*_NUMBER, _NOTHING), str, bool)
_LENGTHS = (("usage", 5), ("asked", len(ASKED)), ("content", len(CONTENT)))


class EndedRequest(NamedTuple):
    """A request that has ended and is to be exported: its record, and what the record drops at its end.

    `asked` is the values of ASKED, `said` the answer's end and id, `content` the values of CONTENT.
    """

    record: RequestRecord
    outcome: RequestOutcome
    asked: Sequence[Any] | None
    said: tuple[str, str | None] | None
    content: tuple[str | None, str | None] | None


def write_line(ended: EndedRequest) -> bytes:
    """The request's line, without a line break. Raises TypeError for a value that JSON does not have."""
    record, outcome, asked, said, content = ended
    head, settled, attempts = record.head, record.settled, record.attempts
    winner = None if settled is None else settled.candidate
    usage = None if settled is None else settled.usage
    facts = (
        head.request_id,
        head.at,
        head.origin.traceparent,
        head.origin.surface,
        head.project[:_NAME_CHARS],
        "" if record.slug is None else record.slug[:_NAME_CHARS],
        None if record.caller is None else record.caller.project.slug,
        None if record.endpoint is None else record.endpoint.slug,
        head.origin.client_address,
        outcome.status,
        outcome.kind,
        outcome.code,
        outcome.text,
        record.latency_ms,
        attempts.first_token_ms if "stream" in record.times.stages else None,
        None if winner is None else winner.provider,
        None if settled is None else settled.model,
        None if usage is None else _list_tokens(usage),
        None if settled is None else settled.cost_nano_usd,
        asked,
        *(said or (None, None)),
        content,
        [_list_row(row) for row in attempts.rows],
    )
    return _to_json(facts)


def list_asked(request: ChatRequest) -> Sequence[Any]:
    """The values of ASKED."""
    options = request.options
    return (
        options.max_output_tokens,
        options.temperature,
        options.top_p,
        options.frequency_penalty,
        options.presence_penalty,
        options.seed,
        request.session_id,
        request.stream or None,
    )


def describe_content(record: RequestRecord) -> tuple[str | None, str | None]:
    """The values of CONTENT. A prompt that no guardrail has passed is never one."""
    asked, answered = None, None
    if record.request is not None and record.is_guarded:
        body = BodyBudget(CONTENT_CHARS, shows_texts=True).describe_request(record.request)
        asked = json.dumps(body.get("messages", body))
    if isinstance(record.reply, Reply):
        answer = BodyBudget(CONTENT_CHARS, shows_texts=True).describe_reply(record.reply)
        answered = json.dumps([{"role": "assistant", **answer}])
    return asked, answered


def read_facts(line: bytes) -> TraceFacts | None:
    """The request of a line; None for a line of which the worker wrote only a part before it ended."""
    try:
        values = orjson.loads(line)
    except ValueError:
        return None
    if not isinstance(values, list) or not _match(values, _TYPES):
        return None
    facts = TraceFacts(*values)
    if any((given := getattr(facts, name)) is not None and len(given) != length for name, length in _LENGTHS):
        return None
    return facts if all(isinstance(row, list) and _match(row, _ROW_TYPES) for row in facts.rows) else None


def write_servers(servers: Servers) -> bytes:
    """The line that comes before all others: an object, so that it is told from a request."""
    return orjson.dumps(servers)


def read_servers(line: bytes) -> Servers | None:
    """The servers of a line; None for a request's line."""
    try:
        values = orjson.loads(line) if line.startswith(b"{") else None
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def _match(values: Sequence[Any], types: Sequence[_Types]) -> bool:
    return len(values) == len(types) and all(map(isinstance, values, types))


def _list_tokens(usage: Usage) -> tuple[int, ...]:
    return (
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    )


def _list_row(row: AttemptRow) -> _Row:
    return (
        row.provider,
        row.model,
        row.credential,
        row.started_ms,
        row.ended_ms,
        row.outcome,
        row.first_token_ms,
        row.why,
        row.is_hedge,
    )


def _to_json(facts: Sequence[Any]) -> bytes:
    try:
        return orjson.dumps(facts)
    except orjson.JSONEncodeError:
        # Half a surrogate pair, or an integer of over 64 bits.
        return json.dumps(facts, default=_to_text, ensure_ascii=False).encode("utf-8", "replace")


def _to_text(thing: object) -> str:
    assert isinstance(thing, UUID)
    return str(thing)
