"""Messages that came as another wire's blocks, in the form that every server of OpenAI's wire takes."""

from __future__ import annotations

from pg_trio.domain.chat import Message
from pg_trio.domain.content import Image, NativePart, Text
from pg_trio.providers.plain_messages import make_plain, move_media

SHOT = Image("https://example.org/a.png")
ASKED = Message("user", "Hi")


def result(*parts: Image | Text | NativePart, call: str = "t") -> Message:
    return Message("tool", tuple(parts), tool_call_id=call)


def test_texts_stay_and_media_come_last() -> None:
    moved = move_media([ASKED, result(Text("Here:"), SHOT), result(SHOT, call="u")])

    assert [
        ASKED,
        result(Text("Here:")),
        Message("tool", "", tool_call_id="u"),
        Message("user", (SHOT, SHOT)),
    ] == moved


def test_media_go_before_what_the_user_says() -> None:
    moved = move_media([result(SHOT), Message("user", "And?"), Message("assistant", "Nice.")])

    assert [
        Message("tool", "", tool_call_id="t"),
        Message("user", (SHOT, Text("And?"))),
        Message("assistant", "Nice."),
    ] == moved


def test_assistant_gets_them_in_a_message_of_their_own() -> None:
    moved = move_media([result(SHOT), Message("assistant", "Nice.")])

    assert ["tool", "user", "assistant"] == [message.role for message in moved]


def test_messages_without_media_are_the_same_objects() -> None:
    messages = [ASKED, result(Text("Rain")), Message("tool", "Rain", tool_call_id="u")]

    assert all(one is other for one, other in zip(messages, move_media(messages), strict=True))


def test_content_that_is_all_text_is_a_string() -> None:
    document = NativePart({"type": "document"}, (Text("A map."),))

    plain = make_plain([Message("user", (Text("Hi"), document)), Message("user", (Text("And?"), SHOT)), result(SHOT)])

    assert ["Hi\nA map.", (Text("And?"), SHOT), "", (SHOT,)] == [message.content for message in plain]
