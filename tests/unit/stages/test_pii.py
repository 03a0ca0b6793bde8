from __future__ import annotations

import json
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.chat import ChatRequest, Message, ToolCall
from pg_trio.domain.content import File, Image, Refusal, Text
from pg_trio.domain.detected_types import PII_LABELS
from pg_trio.domain.guardrails import CustomPattern, PiiFilter
from pg_trio.domain.options import Options, ResponseFormat
from pg_trio.domain.tools import ForeignTool, ForeignToolChoice, Tool, ToolChoice
from pg_trio.errors import PiiBlocked
from pg_trio.stages.guardrails.detectors import pii_detector
from pg_trio.stages.guardrails.pii import PiiScanner

ALL = PiiScanner.compile(PiiFilter())

FOUND = [
    ("email", "max@example.com"),
    ("email", "max.mustermann+news@mail.example.co.uk"),
    ("email", "müller@exämple.de"),
    ("email", "o'brien@example.ie"),
    ("email", "user@xn--exmple-cua.xn--p1ai"),
    ("ip_address", "10.0.0.1"),
    ("ip_address", "255.255.255.255"),
    ("ip_address", "fe80::1"),
    ("ip_address", "::1"),
    ("ip_address", "2001:0db8:0000:0000:0000:8a2e:0370:7334"),
    ("ip_address", "::ffff:192.0.2.1"),
    ("ip_address", "2001:db8::"),
    ("ip_address", "dead:beef:cafe:1::2"),
    ("iban", "DE89370400440532013000"),
    ("iban", "DE89 3704 0044 0532 0130 00"),
    ("iban", "GB82 WEST 1234 5698 7654 32"),
    ("iban", "nl91abna0417164300"),
    ("credit_card", "4111111111111111"),
    ("credit_card", "4111 1111 1111 1111"),
    ("credit_card", "5555-5555-5555-4444"),
    ("credit_card", "3782 822463 10005"),
    ("credit_card", "6304000000000000"),
    ("credit_card", "4222222222222"),
    ("credit_card", "4111  1111  1111  1111"),
    ("credit_card", "4111 - 1111 - 1111 - 1111"),
    ("credit_card", "4111\t1111\t1111\t1111"),
    ("credit_card", "4111.1111.1111.1111"),
    ("credit_card", "4111_1111_1111_1111"),
    ("credit_card", "4111\u20131111\u20131111\u20131111"),
    ("credit_card", "4111\u200b1111\u200b1111\u200b1111"),
    ("credit_card", "2223003122003222"),
    ("credit_card", "6011111111111117"),
    ("ssn_us", "078-05-1120"),
    ("ssn_us", "123 45 6789"),
    ("phone_us", "(212) 555-2368"),
    ("phone_us", "212-555-2368"),
    ("phone_us", "212.555.2368"),
    ("phone_us", "+1 212 555 2368"),
    ("phone_us", "+12125552368"),
    ("phone_us", "(212)5552368"),
    ("phone_us", "212-555-2368x123"),
    ("phone_us", "(212) 555-2368 ext. 44"),
    ("phone_us", "001-212-555-2368"),
    ("phone_de", "+49 171 1234567"),
    ("phone_de", "+49\u00a0171\u00a01234567"),
    ("phone_de", "+49 (0)30 12345678"),
    ("phone_de", "0049 30 12345678"),
    ("phone_de", "0171/1234567"),
    ("phone_de", "(030) 1234 5678"),
    ("phone_de", "017112345678"),
    ("phone_generic", "+44 20 7946 0958"),
    ("phone_generic", "+33 1 23 45 67 89"),
    ("phone_generic", "+41446681800"),
    ("phone_generic", "0044 20 7946 0958"),
    ("phone_generic", "+33 (0)1 42 68 53 00"),
    ("phone_generic", "01 42 68 53 00"),
    ("phone_generic", "(11) 98765-4321"),
]

LEFT_ALONE = [
    "The order 12345678 of 2024-03-04 at 10:30:45 costs 1,234,567.89 EUR.",
    "Version 3.11.4 and 1.2.3.4.5 and v1.2.3.4",
    "256.1.1.1 is no address",
    "std::cout << a::b << fe::ad;",
    "ISBN 978-3-16-148410-0",
    "The timestamp 1763800000 and the id 0815-4711",
    "01.02.2024 to 03.04.2025",
    "4111 1111 1111 1112 fails the check",
    "DE88 3704 0044 1532 1130 00 fails the check",
    "666-12-3456, 900-12-3456, 000-12-3456, 123-00-4567, 123-45-0000",
    "name@localhost and @handle and a@b",
    "2+2 is +4, and +3 points",
    "0123456789012345678901234567890",
    "550e8400-e29b-41d4-a716-446655440000",
    "Zero-padded 00012345 and 007",
    # slices and scopes
    "y = x[::2]; z = a[1::2]; np.arange(10)[::10]; df.iloc[::2, :]; rest = a[5::]",
    "m[i, ::1] + f(x)[2001::2] + 'abc'[::1]",
    "face::b2 and a::b1 and C3::D4()",
    "50:06:01:60:3b:a0:11:22",
    # versions
    "Chrome/124.0.0.0 Safari/537.36 and Edg/120.0.2.1",
    "version 1.2.3.4, from 1.2.3.4 to 1.2.3.5",
    "openssl-1.0.2.1.tar.gz, nginx==1.2.3.4, 1.2.3.4-beta",
    '{"version": "1.2.3.4"}',
    # files, packages, remotes and code
    "icon@2x.png, url(logo@3x.webp), sprite@1.5x.png",
    "git clone git@github.com:acme/widgets.git",
    "ssh://git@git.example.com:2222/acme/widgets.git",
    "rsync -a x deploy@web.example.com:/srv/x",
    "user@1000.service and y = w@x.transpose(0, 1)",
    # ids, counters, dates, diffs
    "SOA serial 2024051501, int max = 2147483647; backup 2025010100",
    "2125552368 and 4155552671 and 0815123456",
    "hosted-eu-2026081209 INV-415-555-2671 /users/212-555-2368",
    "-2024-01-01\n+2025-01-01",
    "@@ -1 +1 @@\n-12345678\n+4915112345678",
    "score: +12345678 points, +123456789, 012345678 bytes",
    "EAN 5901234123457, barcode 5449000000996, IMEI 490154203237518",
    "ISBN 0306406152, HRB 012345678, IMG 0123456789.jpg",
    "0450 0012 3345 9fa1 and 512 256 1024 2048 and 193 11 9239 bytes",
    "call on 2024-01-15 10:30, phone 2019-2023, t: 1754989953",
    "function call 2125552368 failed, phone_id: 4155552671",
    "",
]


def request_of(*messages: Message) -> ChatRequest:
    return ChatRequest(messages=messages, body={})


@pytest.mark.parametrize(("name", "value"), FOUND)
def test_value_is_masked(name: str, value: str) -> None:
    only_this = PiiScanner.compile(PiiFilter(types=(name,)))

    masked = only_this.mask(f"before {value}, after")

    assert f"before [{PII_LABELS[name]} REDACTED], after" == masked


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_clean_text_is_the_same_object(text: str) -> None:
    assert text is ALL.mask(text)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("10.0.0.0/24", "[IP address REDACTED]/24"),
        ("10.0.0.1-10.0.0.9", "[IP address REDACTED]-[IP address REDACTED]"),
        ("at 12:30:45:10.0.0.1", "at 12:30:45:[IP address REDACTED]"),
        ("fe80::1: up", "[IP address REDACTED]: up"),
        ("10.0.0.1:8080", "[IP address REDACTED]:8080"),
        ("http://[::1]:80/", "http://[[IP address REDACTED]]:80/"),
        ("bind('[::1]')", "bind('[[IP address REDACTED]]')"),
        ("root@10.0.0.1", "root@[IP address REDACTED]"),
        ("web/10.1.2.3:80", "web/[IP address REDACTED]:80"),
        ("212-555-2368 x12, then", "[Phone number REDACTED], then"),
        ("+49 30 1234567 2 tickets", "[Phone number REDACTED] 2 tickets"),
        ("97 687579 mobile", "[Phone number REDACTED] mobile"),
        ("Phone:\n663 758 069", "Phone:\n[Phone number REDACTED]"),
        ("max@example.com.pdf", "[E-Mail REDACTED]"),
        ("year 2024 4111 1111 1111 1111", "year 2024 [Credit card REDACTED]"),
        ("4111 1111 1111 1111 123", "[Credit card REDACTED] 123"),
        ("4111-1111-1111-1111-123", "[Credit card REDACTED]-123"),
        ("DE89 3704 0044 0532 0130 00 COBADEFF", "[IBAN REDACTED] COBADEFF"),
        ("foo@bar.com谢谢", "[E-Mail REDACTED]谢谢"),
        ("a@b.co.", "[E-Mail REDACTED]."),
        ("0171 1234567 01.02.2024", "[Phone number REDACTED] 01.02.2024"),
    ],
)
def test_mask_ends_where_the_value_does(text: str, masked: str) -> None:
    assert masked == ALL.mask(text)


def test_earlier_type_wins() -> None:
    masked = ALL.mask("mail 4111111111111111@example.com")

    assert "mail [E-Mail REDACTED]" == masked


def test_inserted_text_is_not_masked_again() -> None:
    custom = CustomPattern("Word", "REDACTED|Mail")
    scanner = PiiScanner.compile(PiiFilter(custom_patterns=(custom,)))

    masked = scanner.mask("a@b.co Mail")

    assert "[E-Mail REDACTED] [Word REDACTED]" == masked


def test_empty_types_find_nothing() -> None:
    scanner = PiiScanner.compile(PiiFilter(types=()))
    request = request_of(Message("user", "a@b.co"))

    assert request is scanner.apply(request)


def test_custom_pattern_alone() -> None:
    scanner = PiiScanner.compile(PiiFilter(types=(), custom_patterns=(CustomPattern("Badge", r"\bB-\d{4}\b"),)))

    assert "a@b.co [Badge REDACTED]" == scanner.mask("a@b.co B-1234")


@pytest.mark.parametrize("pattern", ["(", r"(?=a)", r"(a)\1", r"\d*", ""])
def test_unusable_custom_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"^custom_patterns\[0\]\.pattern: "):
        PiiScanner.compile(PiiFilter(custom_patterns=(CustomPattern("X", pattern),)))


def test_unknown_type_is_refused() -> None:
    with pytest.raises(ValueError, match="types: unknown type 'shoe_size'"):
        PiiScanner.compile(PiiFilter(types=("shoe_size",)))


def test_masks_message_it_came_from() -> None:
    request = request_of(Message("user", "clean"), Message("user", "a@b.co"))

    masked = ALL.apply(request)

    assert (Message("user", "clean"), Message("user", "[E-Mail REDACTED]")) == masked.messages
    assert masked.messages[0] is request.messages[0]
    assert masked.body is request.body


def test_clean_request_is_the_same_object() -> None:
    call = ToolCall("1", "f", '{"x": 1}')
    content = (Text("hello"), Image("https://x"))
    request = request_of(Message("user", content), Message("assistant", None, tool_calls=(call,)))

    assert request is ALL.apply(request)


def test_masks_text_of_parts() -> None:
    image = Image("https://example.com/a@b.co")
    content = (Text("a@b.co"), image, File("f", name="a@b.co.pdf"), Refusal("not to a@b.co"))
    request = request_of(Message("assistant", content))

    masked = ALL.apply(request)

    assert (
        Text("[E-Mail REDACTED]"),
        image,
        File("f", name="[E-Mail REDACTED]"),
        Refusal("not to [E-Mail REDACTED]"),
    ) == masked.messages[0].content


NAMED = [
    "Call me at <2125552368>.",
    "My phone number is <4155552671>, thanks",
    "my new number is <4155552671>",
    '{"phone_number": "<2125552368>"}',
    "contactPhone=<2125552368>&x=1",
    "Phone (John Smith): <2125552368>",
    "Tel.: <0301234567>",
    "Handynummer <017112345678>",
    "Please contact Anna on <2125552368>",
    "Phone: <555-1234>",
    "phone <98765 43210>",
    "T: <+1 212 555 2368>",
    "SSN <078051120>",
    "social security number: <078 05 1120>",
]


@pytest.mark.parametrize("text", NAMED)
def test_word_in_front_names_the_number(text: str) -> None:
    before, _, rest = text.partition("<")
    value, _, after = rest.partition(">")

    masked = ALL.mask(before + value + after)

    assert masked.startswith(before + "[")
    assert masked.endswith(" REDACTED]" + after)


@pytest.mark.parametrize(
    "word", ["order", "Invoice no.", "ticket #", "part number: ", "id=", "ISBN", "EAN", "UPC", "orderId: "]
)
@pytest.mark.parametrize("value", ["212-555-2368", "4111111111111111", "4111 1111 1111 1111", "0171/1234567"])
def test_named_id_is_left_alone(word: str, value: str) -> None:
    text = f"{word} {value}"

    assert text is ALL.mask(text)


def tool_of(**parameters: object) -> Tool:
    return Tool("send", "Sends.", parameters)


def test_masks_inside_tools() -> None:
    found = tool_of(enum=["a@b.co", 4111111111111111, 5], properties={"to": {"title": "to a@b.co"}}, default=True)
    clean = tool_of(type="object")
    choice = ForeignToolChoice({"type": "allowed_tools", "note": "a@b.co"})
    request = ChatRequest((Message("user", "hi"),), {}, tools=(found, clean), tool_choice=choice)

    masked = ALL.apply(request)

    mail, card = "[E-Mail REDACTED]", "[Credit card REDACTED]"
    assert (
        tool_of(enum=[mail, card, 5], properties={"to": {"title": f"to {mail}"}}, default=True),
        clean,
    ) == masked.tools
    assert ForeignToolChoice({"type": "allowed_tools", "note": mail}) == masked.tool_choice
    assert masked.messages[0] is request.messages[0]


def test_masks_inside_the_answer_s_format() -> None:
    answer = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"description": "As a@b.co wrote."}}}
    request = ChatRequest((Message("user", "hi"),), {}, options=Options(response_format=ResponseFormat.of(answer)))

    masked = ALL.apply(request)

    shown = {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": {"description": "As [E-Mail REDACTED] wrote."}},
    }
    assert ResponseFormat.of(shown) == masked.options.response_format


def test_prose_in_an_id_is_refused() -> None:
    request = ChatRequest((Message("tool", "hi", tool_call_id="Ruf a@b.co an"),), {})

    with pytest.raises(PiiBlocked):
        ALL.apply(request)


# Two of a kind would become one: what the other key held, or which function is meant, would be lost.
UNMASKABLE: dict[str, ChatRequest] = {
    "property": ChatRequest((), {}, tools=(tool_of(properties={"to a@b.co": {}, "to b@b.co": {}}),)),
    "definition": ChatRequest((), {}, tools=(tool_of(**{"$defs": {"x": {"a@b.co": 1}}}),)),
    "function": ChatRequest((), {}, tools=(Tool("a@b.co"),)),
    "choice": ChatRequest((), {}, tool_choice=ToolChoice("function", "a@b.co")),
    "format": ChatRequest(
        (), {}, options=Options(response_format=ResponseFormat("json_schema", {"schema": {"a@b.co": {}}}))
    ),
    "argument": request_of(
        Message("assistant", None, tool_calls=(ToolCall("1", "f", '{"a@example.org":1,"b@example.org":2}'),))
    ),
    "deep argument": request_of(Message("assistant", None, tool_calls=(ToolCall("1", "f", '{"a":[{"a@b.co":{}}]}'),))),
    "escaped argument": request_of(Message("assistant", None, tool_calls=(ToolCall("1", "f", '{"a\\u0040b.co":1}'),))),
}


@pytest.mark.parametrize("mode", ["mask", "block"])
@pytest.mark.parametrize("place", UNMASKABLE)
def test_keys_and_names_are_refused(place: str, mode: Literal["mask", "block"]) -> None:
    scanner = PiiScanner.compile(PiiFilter(mode=mode))

    with pytest.raises(PiiBlocked, match=r"^Request blocked: E-Mail detected in input\.$"):
        scanner.apply(UNMASKABLE[place])


def test_key_is_refused_by_its_own_type() -> None:
    arguments = '{"to": "a@b.co", "4111111111111111": 1}'
    request = request_of(Message("assistant", None, tool_calls=(ToolCall("1", "f", arguments),)))

    with pytest.raises(PiiBlocked, match="Credit card"):
        ALL.apply(request)


@given(st.dictionaries(st.sampled_from(["a@b.co", "to", "10.0.0.1", "x"]), st.sampled_from([1, "a@b.co", None, ["x"]])))
def test_arguments_keep_their_keys(arguments: dict[str, object]) -> None:
    call = ToolCall("1", "f", json.dumps(arguments))
    try:
        (message,) = ALL.apply(request_of(Message("assistant", None, tool_calls=(call,)))).messages
    except PiiBlocked:
        assert {"a@b.co", "10.0.0.1"} & arguments.keys()
    else:
        assert list(arguments) == list(json.loads(message.tool_calls[0].arguments))


def test_words_of_tools_stay() -> None:
    scanner = PiiScanner.compile(PiiFilter(types=(), custom_patterns=(CustomPattern("Word", "string|name"),)))
    tool = tool_of(type="string", title="a string")
    request = ChatRequest((Message("user", "string"),), {}, tools=(tool,))

    masked = scanner.apply(request)

    assert (tool_of(type="string", title="a [Word REDACTED]"),) == masked.tools
    assert (Message("user", "[Word REDACTED]"),) == masked.messages


def test_deep_tools_are_masked() -> None:
    nested: object = "a@b.co"
    for _ in range(490):
        nested = [nested]
    request = ChatRequest((Message("user", "hi"),), {}, tools=(ForeignTool({"type": "function", "x": nested}),))

    (tool,) = ALL.apply(request).tools
    assert isinstance(tool, ForeignTool)
    found = tool.raw["x"]
    while isinstance(found, list):
        (found,) = found

    assert "[E-Mail REDACTED]" == found


@pytest.mark.parametrize("mode", ["mask", "block"])
@pytest.mark.parametrize(
    "message",
    [
        Message("user", "hi", name="4111111111111111"),
        Message("tool", "hi", tool_call_id="10.0.0.1"),
        Message("assistant", None, tool_calls=(ToolCall("078-05-1120", "f", "{}"),)),
        Message("assistant", None, tool_calls=(ToolCall("c", "10.0.0.1", "{}"),)),
    ],
    ids=["name", "tool_call_id", "id", "function"],
)
def test_names_and_ids_are_refused(mode: Literal["mask", "block"], message: Message) -> None:
    scanner = PiiScanner.compile(PiiFilter(mode=mode))

    with pytest.raises(PiiBlocked, match=r"^Request blocked: (Credit card|IP address|SSN) detected in input\.$"):
        scanner.apply(request_of(message))


def test_block_looks_into_tools() -> None:
    scanner = PiiScanner.compile(PiiFilter(mode="block"))
    request = ChatRequest((Message("user", "hi"),), {}, tools=(tool_of(enum=["a@b.co"]),))

    with pytest.raises(PiiBlocked):
        scanner.apply(request)


@pytest.mark.parametrize("arguments", ['{"a": "a@b.co", "a": 1}', '{"a": "a\\u0040b.co", "a": 1}'])
def test_overwritten_key_hides_nothing(arguments: str) -> None:
    request = request_of(Message("assistant", None, tool_calls=(ToolCall("1", "f", arguments),)))

    (message,) = ALL.apply(request).messages

    assert '{"a":1}' == message.tool_calls[0].arguments


@pytest.mark.parametrize("pattern", ["^left$", r"\Aleft\z"])
def test_anchors_are_a_pieces_own(pattern: str) -> None:
    scanner = PiiScanner.compile(PiiFilter(custom_patterns=(CustomPattern("Word", pattern),)))
    request = request_of(Message("user", "right"), Message("user", "left"), Message("user", "left right"))

    texts = [message.content for message in scanner.apply(request).messages]

    assert ["right", "[Word REDACTED]", "left right"] == texts


@given(st.lists(st.one_of(st.sampled_from([value for _, value in FOUND]), st.text(max_size=8)), max_size=6))
def test_pieces_at_once_are_as_one_by_one(pieces: list[str]) -> None:
    texts = [message.content for message in ALL.apply(request_of(*(Message("user", text) for text in pieces))).messages]

    assert [ALL.mask(text) for text in pieces] == texts


@pytest.mark.parametrize(
    ("arguments", "masked"),
    [
        ('{"to": "a@b.co"}', {"to": "[E-Mail REDACTED]"}),
        ('{"to": "line\\na@b.co"}', {"to": "line\n[E-Mail REDACTED]"}),
        ('{"to": "a\\u0040b.co"}', {"to": "[E-Mail REDACTED]"}),
        ('{"cards": [4111111111111111, true, null]}', {"cards": ["[Credit card REDACTED]", True, None]}),
        ('{"phone": "2125552368"}', {"phone": "[Phone number REDACTED]"}),
        ('{"kind": "phone", "value": 2125552368}', {"kind": "phone", "value": 2125552368}),
        ('{"kind": "phone", "value": "2125552368"}', {"kind": "phone", "value": "[Phone number REDACTED]"}),
        ('{"order_id": "4111111111111111"}', {"order_id": "4111111111111111"}),
    ],
)
def test_tool_arguments_stay_json(arguments: str, masked: object) -> None:
    request = request_of(Message("assistant", None, tool_calls=(ToolCall("1", "f", arguments),)))

    (message,) = ALL.apply(request).messages

    assert masked == json.loads(message.tool_calls[0].arguments)


def test_arguments_that_are_no_json() -> None:
    request = request_of(Message("assistant", None, tool_calls=(ToolCall("1", "f", "to a@b.co {"),)))

    (message,) = ALL.apply(request).messages

    assert "to [E-Mail REDACTED] {" == message.tool_calls[0].arguments


@pytest.mark.parametrize("depth", [300, 1000])
def test_deep_arguments_are_masked(depth: int) -> None:
    arguments = "[" * depth + '"a@b.co"' + "]" * depth
    request = request_of(Message("assistant", None, tool_calls=(ToolCall("1", "f", arguments),)))

    (message,) = ALL.apply(request).messages

    assert arguments.replace("a@b.co", "[E-Mail REDACTED]") == message.tool_calls[0].arguments


def test_match_across_messages_is_none() -> None:
    scanner = PiiScanner.compile(PiiFilter(custom_patterns=(CustomPattern("Pair", r"left\sright"),)))
    request = request_of(Message("user", "left"), Message("user", "right"))

    assert request is scanner.apply(request)


@pytest.mark.parametrize("pieces", [("078-05-1120", "a@b.co"), ("a@b.co 078-05-1120", "clean")])
def test_block_names_first_type_in_order(pieces: tuple[str, str]) -> None:
    scanner = PiiScanner.compile(PiiFilter(mode="block"))

    with pytest.raises(PiiBlocked) as blocked:
        scanner.apply(request_of(*(Message("user", piece) for piece in pieces)))

    assert "Request blocked: E-Mail detected in input." == blocked.value.text


@pytest.mark.parametrize("arguments", ['{"to": "a\\u0040b.co"}', '{"cards": [4111111111111111]}'])
def test_block_looks_into_tool_arguments(arguments: str) -> None:
    scanner = PiiScanner.compile(PiiFilter(mode="block"))

    with pytest.raises(PiiBlocked):
        scanner.apply(request_of(Message("assistant", None, tool_calls=(ToolCall("1", "f", arguments),))))


def test_block_lets_clean_text_pass() -> None:
    scanner = PiiScanner.compile(PiiFilter(mode="block"))
    request = request_of(Message("user", "at 10:30:45, order 4111 1111 1111 1112"))

    assert request is scanner.apply(request)


PIECES = st.one_of(
    st.sampled_from([value for _, value in FOUND]),
    st.text(max_size=8),
    st.text("0123456789 .-/:+()@abcDE", max_size=24),
    st.sampled_from(
        ["phone ", "1phone: ", "call me at", "order no. ", "SSN ", "number", "Chrome/", "a[", "git@", "x ext. "]
    ),
)


ONE_TYPE = {name: PiiScanner.compile(PiiFilter(types=(name,))) for name in PII_LABELS}


@given(st.sampled_from(list(PII_LABELS)), st.lists(PIECES, max_size=6), st.sampled_from(["", " ", ",", "\n", "-", "."]))
def test_masked_text_has_nothing_more(name: str, pieces: list[str], joint: str) -> None:
    masked = ONE_TYPE[name].mask(joint.join(pieces))

    assert masked is ONE_TYPE[name].mask(masked)


@pytest.mark.parametrize("count", [2, 3, 4, 7])
@pytest.mark.parametrize("number", ["078-05-1120", "0151 23456789", "(212) 555-0142", "4111 1111 1111 1111"])
@pytest.mark.parametrize("name", list(PII_LABELS))
def test_row_of_numbers_has_nothing_more(name: str, number: str, count: int) -> None:
    masked = ONE_TYPE[name].mask(" ".join([number] * count))

    assert masked is ONE_TYPE[name].mask(masked)


@given(st.sampled_from(FOUND), st.text("äß漢 xyz!?", max_size=20), st.text("äß漢 xyz!?", max_size=20))
def test_masked_value_is_gone(found: tuple[str, str], before: str, after: str) -> None:
    _, value = found

    masked = ALL.mask(f"{before} {value} {after}")

    assert value not in masked


@given(st.lists(PIECES, max_size=8).map("".join))
def test_any_writing_is_masked_or_the_same(text: str) -> None:
    masked = ALL.mask(text)

    assert (masked is text) == (masked == text)


@given(st.text())
def test_any_text_is_masked_or_the_same(text: str) -> None:
    masked = ALL.mask(text)

    assert (masked is text) == (masked == text)


@given(st.text("0123456789.:abcdef@+- ", max_size=60))
def test_match_lies_in_the_text(text: str) -> None:
    buffer = text.encode()

    for detector in map(pii_detector, PII_LABELS):
        found = detector.find(buffer)
        if found is not None:
            assert 0 <= found[0] < found[1] <= len(buffer)
