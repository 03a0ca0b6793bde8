"""Whole answers of the Responses API."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from pg_trio.domain.call import WholeAnswer
from pg_trio.domain.limits import LimitState
from pg_trio.surfaces.http_answer import HttpAnswer, make_answer
from pg_trio.surfaces.v1.model_limits import openai_lines
from pg_trio.surfaces.v1.responses.answer_settings import asks_for_logprobs
from pg_trio.surfaces.v1.responses.output_items import output_items
from pg_trio.surfaces.v1.responses.response_object import ResponseHead, end_of, response_object
from pg_trio.surfaces.v1.responses.response_request import find_ids


def render_answer(answer: WholeAnswer, limits: Sequence[LimitState] = ()) -> HttpAnswer:
    """The response's object, and OpenAI's header fields."""
    reply, request, request_id = answer.reply, answer.request, answer.request_id
    ids = find_ids(request, request_id)
    head = ResponseHead(ids.response_id(), int(answer.at), reply.model, request.body)
    ended_s = int(answer.at + sum(answer.times.durations_ms) / 1000)
    end = end_of(reply.finish_reason, answer.usage, ended_s)
    body = orjson.dumps(response_object(head, output_items(reply, ids, shows_logprobs=asks_for_logprobs(request)), end))
    return make_answer(answer, str(request_id), openai_lines(answer.times, limits), body)
