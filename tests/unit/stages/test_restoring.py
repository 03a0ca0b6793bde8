"""The filter that puts texts back into a streamed answer."""

from __future__ import annotations

import pytest

from pg_trio.domain.chat import ChatRequest, Message, Usage
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


@pytest.mark.parametrize("label", ["x" * 100, "9" * 100, "ß" * 100, "a " * 50, "日本"])
def test_text_of_a_pattern_with_any_label_comes_back(label: str) -> None:
    made = Redaction({})

    assert "Q7" == made.restore(made.write("Q7", [Match(0, 2, label, label)]))


@pytest.mark.parametrize("highest", [998, 999, 10**9 - 2, 10**9 - 1])
def test_look_alike_of_any_number_keeps_no_text_from_coming_back(highest: int) -> None:
    made = Redaction({"EMAIL": highest})

    redacted = made.write("a@b.com c@d.com", [Match(0, 7, "email", "E-Mail"), Match(8, 15, "email", "E-Mail")])

    assert f"[[EMAIL_{highest:03d}]]" not in redacted
    assert "a@b.com c@d.com" == made.restore(redacted)


def test_highest_number_in_the_history_moves_the_placeholders() -> None:
    taken = ["[[EMAIL_999999999]] and [[EMAIL_X_001]]"]
    request = ChatRequest((Message("user", "to [[EMAIL_001]]"),), body={})

    moved, restored_by = redaction().renumber(request, taken)

    assert "to [[EMAIL_X_002]]" == moved.messages[0].content
    assert f"to {MAIL}" == restored_by.restore("to [[EMAIL_X_002]]")
