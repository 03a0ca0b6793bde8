"""The filter that puts texts back into a streamed answer."""

from __future__ import annotations

import json

import pytest

from pg_trio.domain.chat import ChatRequest, Message, Usage
from pg_trio.domain.events import ContentDelta, Event, Finished, ReasoningDelta, ToolCallDelta
from pg_trio.stages.guardrails.detection import Match
from pg_trio.stages.guardrails.redaction import Redaction, highest_numbers
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


WRITINGS = [
    "[[email_001]]",
    "[[Email_001]]",
    "[[ EMAIL_001 ]]",
    "[[EMAIL_1]]",
    "[[EMAIL 001]]",
    "[[EMAIL-001]]",
    r"[[EMAIL\_001]]",
    r"\[\[EMAIL\_001\]\]",
    r"\[[EMAIL_001\]]",
]


@pytest.mark.parametrize("written", WRITINGS)
@pytest.mark.parametrize(
    "around", ["{}", "**{}**", "`{}`", "[{}]", "({}),", "{0}{0}", "a{}b", "[[x]] [[EMAIL_002]] {}"]
)
def test_loose_writing_comes_back_at_any_cut(written: str, around: str) -> None:
    text = around.format(written)

    assert around.format(MAIL) == redaction().restore(text)
    for size in range(1, len(text)):
        restoring = RestoringFilter(redaction())
        pieces = [ContentDelta(text[at : at + size]) for at in range(0, len(text), size)]
        passed = [*restoring.take(pieces), *restoring.take([Finished("stop", Usage(1, 1))])]
        assert around.format(MAIL) == "".join([event.text for event in passed if isinstance(event, ContentDelta)])


@pytest.mark.parametrize("written", WRITINGS)
def test_loose_writing_in_arguments_leaves_json(written: str) -> None:
    made = Redaction({})
    made.write('"a"@b.co', [Match(0, 8, "email", "E-Mail")])

    assert {"to": '"a"@b.co'} == json.loads(made.restore_json(json.dumps({"to": written})))


@pytest.mark.parametrize("label", ["a b c d e f g h i j k l m n o p", "b 5", "a" * 60])
def test_escaped_placeholder_of_any_label_comes_back_in_a_streamed_call(label: str) -> None:
    made = Redaction({})
    written = made.write("Q7", [Match(0, 2, label, label)])
    for sign in "[_]":
        written = written.replace(sign, f"\\\\{sign}")
    restoring = RestoringFilter(made)
    events: list[Event] = [ToolCallDelta(0, None, None, sign) for sign in written]

    passed = [*restoring.take(events), *restoring.take([Finished("tool_calls", Usage(1, 1))])]

    assert "Q7" == "".join([event.arguments for event in passed if isinstance(event, ToolCallDelta)])


@pytest.mark.parametrize("text", [r"C:\[[EMAIL_001]]", r"x \\[[EMAIL_001]]"])
def test_backslash_of_the_text_stays(text: str) -> None:
    assert text.replace("[[EMAIL_001]]", MAIL) == redaction().restore(text)


@pytest.mark.parametrize("written", WRITINGS)
def test_loose_look_alike_of_the_client_is_never_replaced(written: str) -> None:
    made = Redaction(highest_numbers([f"I write {written}"]))

    assert "[[EMAIL_002]]" == made.write(MAIL, [Match(0, len(MAIL), "email", "E-Mail")])
    assert written == made.restore(written)


@pytest.mark.parametrize("text", ["[[EMAIL_001]", "[EMAIL_001]", "[[EMAIL_01x]]", "[[E MAIL_001]]", "[[EMAILS_001]]"])
def test_other_text_stays(text: str) -> None:
    assert text == redaction().restore(text)


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
