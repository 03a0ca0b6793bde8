"""Placeholders: their numbers, and how they are put back in any cut of a stream."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.chat import ChatRequest, Message, ToolCall
from pg_trio.domain.events import Broken, ContentDelta, Event, Finished, Joined, ToolCallDelta
from pg_trio.domain.guardrails import CustomPattern, GuardrailRules, PiiFilter, ReversibleRedaction
from pg_trio.errors import RedactionRefused, UpstreamBroken
from pg_trio.stages.guardrails import Redaction, RestoringFilter, compile_chain
from pg_trio.stages.guardrails.detection import Match

CHAIN = compile_chain(GuardrailRules(reversible_redaction=ReversibleRedaction(types=("email",))))


def redaction_of(*texts: str) -> Redaction:
    redaction = Redaction({})
    for text in texts:
        redaction.write(text, [Match(0, len(text), "email", "E-Mail")])
    return redaction


def redact(*texts: str) -> tuple[list[str], Redaction]:
    request, _, redaction = CHAIN.check(ChatRequest(tuple(Message("user", text) for text in texts), body={}))
    assert redaction is not None
    return [str(message.content) for message in request.messages], redaction


def test_numbers_go_on_after_look_alikes_anywhere() -> None:
    texts, redaction = redact("[[EMAIL_009]] a@b.co", "[[EMAIL_12345678901]] [[PHONE_020]] c@d.co a@b.co")

    assert ["[[EMAIL_009]] [[EMAIL_010]]", "[[EMAIL_12345678901]] [[PHONE_020]] [[EMAIL_011]] [[EMAIL_010]]"] == texts
    assert {"[[EMAIL_010]]": "a@b.co", "[[EMAIL_011]]": "c@d.co"} == redaction.texts


def test_custom_label_is_the_name() -> None:
    rule = ReversibleRedaction(types=(), custom_patterns=(CustomPattern("2nd badge (blue)", r"B-\d{4}"),))
    request = ChatRequest((Message("user", "It is B-1234."),), body={})

    masked, verdicts, _ = compile_chain(GuardrailRules(reversible_redaction=rule)).check(request)

    assert "It is [[N2ND_BADGE_BLUE_001]]." == masked.text()
    assert [("reversible_redaction", "2nd badge (blue)", "redact", 1)] == [
        (one.guardrail, one.rule, one.action, one.count) for one in verdicts
    ]


def test_filter_masks_what_redaction_leaves() -> None:
    rules = GuardrailRules(PiiFilter(), reversible_redaction=ReversibleRedaction(types=("email",)))
    request = ChatRequest((Message("user", "a@b.co, +49 171 1234567"),), body={})

    assert "[[EMAIL_001]], [Phone number REDACTED]" == compile_chain(rules).check(request)[0].text()


def test_name_cannot_be_redacted() -> None:
    call = ToolCall("c1", "a@b.co", "{}")

    with pytest.raises(RedactionRefused, match="Request blocked: E-Mail detected in input"):
        CHAIN.check(ChatRequest((Message("assistant", None, tool_calls=(call,)),), body={}))


def test_history_moves_the_numbers() -> None:
    request, _, redaction = CHAIN.check(ChatRequest((Message("user", "a@b.co [[EMAIL_002]]"),), body={}))
    assert redaction is not None

    moved, redaction = redaction.renumber(request, ["[[EMAIL_007]]", "[[PHONE_US_900]]"])

    assert "[[EMAIL_008]] [[EMAIL_002]]" == moved.text()
    assert {"[[EMAIL_008]]": "a@b.co"} == redaction.texts


def test_texts_are_not_shown() -> None:
    assert "a@b.co" not in repr(redaction_of("a@b.co"))


PIECES = st.sampled_from(
    ["[[EMAIL_001]]", "[[EMAIL_002]]", "[[EMAIL_003]]", "[", "]", "[[", "EMAIL_", "_001]]", " a ", "é"]
)
SIZES = st.lists(st.integers(1, 9), max_size=80)


def cut(text: str, sizes: list[int]) -> list[str]:
    pieces: list[str] = []
    while text:
        size = sizes[len(pieces)] if len(pieces) < len(sizes) else 1
        pieces.append(text[:size])
        text = text[size:]
    return pieces


@given(st.lists(PIECES, max_size=12), SIZES)
def test_any_cut_is_restored_as_the_whole(parts: list[str], sizes: list[int]) -> None:
    redaction, text = redaction_of('a "b"@c.co', "d@e.co"), "".join(parts)
    restoring = RestoringFilter(redaction)

    passed = [event for piece in cut(text, sizes) for event in restoring.take([ContentDelta(piece)])]
    passed += restoring.take([Finished("stop")])

    assert redaction.restore(text) == "".join([event.text for event in passed if isinstance(event, ContentDelta)])


@given(st.lists(PIECES, max_size=12), SIZES)
def test_any_cut_of_arguments_stays_json(parts: list[str], sizes: list[int]) -> None:
    redaction, value = redaction_of('a "b"\n@c.co', "d@e.co"), {"to": "".join(parts)}
    restoring = RestoringFilter(redaction)
    first, *rest = cut(json.dumps(value, ensure_ascii=False), sizes)

    passed = list(restoring.take([ToolCallDelta(0, "c1", "send", first)]))
    passed += [event for piece in rest for event in restoring.take([ToolCallDelta(0, None, None, piece)])]
    passed += restoring.take([Finished("tool_calls")])

    arguments = "".join([event.arguments for event in passed if isinstance(event, ToolCallDelta)])
    assert {"to": redaction.restore(value["to"])} == json.loads(arguments)


@pytest.mark.parametrize(("mode", "said"), [("continue", "Hi a@b.co"), ("restart", "Hi IL_001]]")])
def test_change_of_candidates(mode: str, said: str) -> None:
    restoring, passed = RestoringFilter(redaction_of("a@b.co")), list[Event]()

    passed += restoring.take([ContentDelta("Hi [[EMA"), Broken(UpstreamBroken("cut"))])
    passed += restoring.take([Joined(mode, 8, "groq", "llama", "cut"), ContentDelta("IL_001]]"), Finished("stop")])

    assert said == "".join([event.text for event in passed if isinstance(event, ContentDelta)])
    assert [3] == [event.characters for event in passed if isinstance(event, Joined)]
