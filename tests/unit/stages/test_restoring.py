"""The filter that puts texts back into a streamed answer."""

from __future__ import annotations

import pytest

from pg_trio.domain.chat import Usage
from pg_trio.domain.events import ContentDelta, Event, Finished, ReasoningDelta, ToolCallDelta
from pg_trio.stages.guardrails.detection import Match
from pg_trio.stages.guardrails.redaction import Redaction
from pg_trio.stages.guardrails.restoring import RestoringFilter

MAIL = "max@example.com"


def redaction() -> Redaction:
    made = Redaction({})
    assert "[[EMAIL_001]]" == made.write(MAIL, [Match(0, len(MAIL), "email", "E-Mail")])
    return made


@pytest.mark.parametrize("other", [ReasoningDelta(""), ReasoningDelta("so")])
def test_reasoning_with_each_piece_of_content_cuts_no_placeholder(other: Event) -> None:
    restoring = RestoringFilter(redaction())
    events = [event for char in "to [[EMAIL_001]]." for event in (ContentDelta(char), other)]

    passed = [*restoring.take(events), *restoring.take([Finished("stop", Usage(1, 1))])]

    assert f"to {MAIL}." == "".join([event.text for event in passed if isinstance(event, ContentDelta)])


def test_reasoning_between_pieces_of_a_call_cuts_no_placeholder() -> None:
    restoring = RestoringFilter(redaction())
    events: list[Event] = [ToolCallDelta(0, "c", "send", '{"to":"')]
    events += [
        event for char in '[[EMAIL_001]]"}' for event in (ToolCallDelta(0, None, None, char), ReasoningDelta(""))
    ]

    passed = [*restoring.take(events), *restoring.take([Finished("tool_calls", Usage(1, 1))])]

    arguments = [event.arguments for event in passed if isinstance(event, ToolCallDelta)]
    assert f'{{"to":"{MAIL}"}}' == "".join(arguments)
