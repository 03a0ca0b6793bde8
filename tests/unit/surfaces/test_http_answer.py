"""Header fields that the answers of all surfaces have."""

from __future__ import annotations

from uuid import UUID

from pg_trio.domain.call import WholeAnswer
from pg_trio.domain.chat import Reply, Usage
from pg_trio.domain.stage_times import NO_TIMES
from pg_trio.surfaces.http_answer import header_text, make_answer, more_lines
from tests.support.requests import REQUEST


def test_header_text_is_printable_and_short() -> None:
    assert b"gpt??Set-Cookie: a" == header_text("gpt\r\nSet-Cookie: a")
    assert b"mod?le" == header_text("modèle")
    assert 200 == len(header_text("x" * 999))


def test_fields_are_what_asgi_headers_say() -> None:
    answer = WholeAnswer(Reply("i", "m", "Hi", "stop"), Usage(1, 1), UUID(int=1), "openai", [], NO_TIMES, REQUEST)

    rendered = make_answer(answer, str(answer.request_id), more_lines(b"x-more: 1%\r\n"), b"{}")

    lines = [name + b": " + value for name, value in rendered.headers()]
    assert b"content-length: %d" % len(rendered.body) == lines[0]
    assert rendered.fields == b"".join([line + b"\r\n" for line in lines[1:]])
