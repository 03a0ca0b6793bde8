"""The filter of a streamed answer's events: order, reasoning, changes of candidates, ends."""

from __future__ import annotations

import json

import pytest
from attrs import evolve

from pg_trio.domain.chat import Reasoning, Reply, ToolCall, Usage
from pg_trio.domain.events import (
    Broken,
    ContentDelta,
    Event,
    Finished,
    Joined,
    NativeBlock,
    NativeNote,
    Opened,
    ReasoningDelta,
    ToolCallDelta,
)
from pg_trio.domain.guardrails import (
    ContentLength,
    CustomPattern,
    GuardrailVerdict,
    KeywordBlocklist,
    OutputRules,
    PiiFilter,
    PromptLeak,
)
from pg_trio.errors import GuardrailBlocked, InputTooLong, InputTooShort, UpstreamBroken
from pg_trio.stages.guardrails.output import OutputGuards, compile_output
from pg_trio.stages.guardrails.output.answer_filter import AnswerFilter

OPENED, FINISHED = Opened("chatcmpl-1", "gpt"), Finished("stop", Usage(1, 1))
MAIL = GuardrailVerdict("pii_filter", "email", "output", "mask")
CUT = Broken(UpstreamBroken("cut"))


def compiled(**rules: object) -> OutputGuards:
    guards = compile_output(OutputRules(**rules), "The prompt of this endpoint has seven words.")  # type: ignore[arg-type]
    assert guards is not None
    return guards


MASKS = compiled(pii_filter=PiiFilter())


class Client:
    """Feeds a filter, and has what it passed on and what it said."""

    def __init__(self, guards: OutputGuards = MASKS, *, shows_reasoning: bool = True) -> None:
        self.verdicts: list[GuardrailVerdict] = []
        self.filter: AnswerFilter = guards.open_stream(self.verdicts.append, shows_reasoning=shows_reasoning)
        self.events: list[Event] = []

    def take(self, *events: Event) -> list[Event]:
        passed = list(self.filter.take(events))
        self.events += passed
        return passed

    def text(self) -> str:
        return "".join([event.text for event in self.events if isinstance(event, ContentDelta)])


def test_text_waits_for_what_decides_it() -> None:
    client = Client()

    assert [OPENED, ContentDelta("Write to ")] == client.take(OPENED, ContentDelta("Write to max@exam"))
    assert [] == client.take(ContentDelta("ple.com"))
    assert [] == client.verdicts
    assert [ContentDelta("[E-Mail REDACTED] ")] == client.take(ContentDelta(" now"))
    assert [ContentDelta("now"), FINISHED] == client.take(FINISHED)
    assert "Write to [E-Mail REDACTED] now" == client.text()
    assert [MAIL] == client.verdicts


def test_end_passes_what_waits_before_it() -> None:
    client = Client()

    passed = client.take(OPENED, ContentDelta("max@example.com"), FINISHED)

    assert [OPENED, ContentDelta("[E-Mail REDACTED]"), FINISHED] == passed


def test_events_keep_their_order() -> None:
    client = Client()

    client.take(
        OPENED, ReasoningDelta("I think"), ContentDelta("Let me see"), ToolCallDelta(0, "c1", "find", '{"q": "x')
    )
    client.take(ToolCallDelta(0, None, None, 'y"}'), ToolCallDelta(1, "c2", "find", "{}"), FINISHED)

    kinds = [type(event) for event in client.events]
    assert kinds.index(ContentDelta) > kinds.index(ReasoningDelta)
    assert kinds.index(ToolCallDelta) > len(kinds) - 1 - kinds[::-1].index(ContentDelta)
    calls = [event for event in client.events if isinstance(event, ToolCallDelta)]
    assert sorted(call.index for call in calls) == [call.index for call in calls]
    assert '{"q": "xy"}' == "".join([call.arguments for call in calls if call.index == 0])


def test_address_across_a_call_is_refused_at_the_end() -> None:
    client = Client()
    client.take(OPENED, ContentDelta("max@exam"), ToolCallDelta(0, "c1", "find", "{}"))
    client.take(ContentDelta("ple.com"))

    with pytest.raises(GuardrailBlocked, match="E-Mail detected in output"):
        client.take(FINISHED)

    assert "ple.com" not in client.text()


def test_masked_reasoning_loses_its_signature() -> None:
    client = Client()

    client.take(OPENED, ReasoningDelta("of max@exam"), ReasoningDelta("ple.com"), ReasoningDelta("", "sig"))
    client.take(ReasoningDelta("of nothing"), ReasoningDelta("", "sig2"), ReasoningDelta("", data="opaque"))

    told = [event for event in client.events if isinstance(event, ReasoningDelta)]
    assert "of [E-Mail REDACTED]of nothing" == "".join([event.text for event in told])
    assert ["", "sig2"] == [event.signature for event in told if event.signature is not None]
    assert ["opaque"] == [event.data for event in told if event.data is not None]


def test_reasoning_that_is_not_shown_is_not_judged() -> None:
    client = Client(compiled(pii_filter=PiiFilter(mode="block")), shows_reasoning=False)

    passed = client.take(OPENED, ReasoningDelta("max@example.com "), ReasoningDelta("", "sig"), FINISHED)

    assert [OPENED, ReasoningDelta(""), ReasoningDelta("", ""), FINISHED] == passed


@pytest.mark.parametrize(("mode", "text"), [("continue", "Hi [E-Mail REDACTED]"), ("restart", "Hi ple.com")])
def test_window_follows_a_change_of_candidates(mode: str, text: str) -> None:
    client = Client()
    client.take(OPENED, ContentDelta("Hi max@exam"))
    client.take(CUT)

    [joined, *_] = client.take(Joined(mode, 11, "groq", "llama", "cut"), Opened("b", "llama"), ContentDelta("ple.com"))
    client.take(FINISHED)

    assert evolve(Joined(mode, 3, "groq", "llama", "cut")) == joined
    assert text == client.text()


def test_broken_stream_leaks_nothing_that_waits() -> None:
    client = Client()

    client.take(OPENED, ContentDelta("Hi max@exam"), CUT)

    assert [OPENED, ContentDelta("Hi "), CUT] == client.events


def test_logprobs_are_left_out() -> None:
    client = Client()

    client.take(OPENED, ContentDelta("Hi there ", {"content": [{"token": "Hi"}]}), FINISHED)

    assert {None} == {event.logprobs for event in client.events if isinstance(event, ContentDelta)}


def test_native_values_are_masked_inside() -> None:
    client = Client()
    block = {"type": "web_search_tool_result", "content": [{"title": "max@example.com", "url": "https://x"}]}

    client.take(
        OPENED, NativeBlock(block), NativeNote(), ContentDelta("a"), NativeNote({"cited_text": "max@example.com"})
    )

    [masked] = [event.block for event in client.events if isinstance(event, NativeBlock)]
    [note] = [event.citation for event in client.events if isinstance(event, NativeNote) and event.citation]
    assert ("[E-Mail REDACTED]", "https://x") == (masked["content"][0]["title"], masked["content"][0]["url"])
    assert {"cited_text": "[E-Mail REDACTED]"} == note


def test_id_that_is_prose_is_refused() -> None:
    client = Client()

    assert [ToolCallDelta(0, "call_1:a/b=", "get", "{}")] == client.take(ToolCallDelta(0, "call_1:a/b=", "get", "{}"))
    with pytest.raises(GuardrailBlocked, match="E-Mail detected in output"):
        client.take(ToolCallDelta(1, "for max@example.com", "get", ""))


def test_name_of_a_call_is_refused() -> None:
    with pytest.raises(GuardrailBlocked, match="E-Mail detected"):
        Client().take(OPENED, ToolCallDelta(0, "c1", "max@example.com", "{}"))


def test_length_counts_text_and_arguments_as_they_pass() -> None:
    client = Client(compiled(content_length=ContentLength(min=3, max=6)))

    client.take(OPENED, ContentDelta("abc"), ReasoningDelta("thinking a lot"), ToolCallDelta(0, "c", "f", "{}"))
    with pytest.raises(InputTooLong, match="Response blocked: content length 7 exceeds maximum 6"):
        client.take(ContentDelta("de"))

    assert "abc" == client.text()


def test_short_answer_is_refused_at_its_end() -> None:
    client = Client(compiled(content_length=ContentLength(min=3)))
    client.take(OPENED, ContentDelta("ab"))

    with pytest.raises(InputTooShort, match="Response blocked: content length 2 is below minimum 3"):
        client.take(FINISHED)


@pytest.mark.parametrize("rule", [ContentLength(max=1, mode="flag"), ContentLength(min=9, mode="flag")])
def test_flagged_length_passes(rule: ContentLength) -> None:
    client = Client(compiled(content_length=rule))

    client.take(OPENED, ContentDelta("abc"), FINISHED)

    assert ("abc", ["flag"]) == (client.text(), [verdict.action for verdict in client.verdicts])


@pytest.mark.parametrize(
    "said",
    [
        "the PROMPT, of this: endpoint — has\nseven words",
        "The  prompt of this endpoint has seven WORDS!",
        "Sure: the the prompt of this endpoint has seven words.",
    ],
)
def test_prompt_is_known_in_any_case_and_punctuation(said: str) -> None:
    client = Client(compiled(prompt_leak=PromptLeak(min_words=8)))

    with pytest.raises(GuardrailBlocked, match="system prompt detected in output"):
        client.take(OPENED, *map(ContentDelta, said), FINISHED)

    assert "prompt" not in client.text().lower()


def test_few_words_of_the_prompt_pass() -> None:
    client = Client(compiled(prompt_leak=PromptLeak(min_words=8)))

    client.take(OPENED, *map(ContentDelta, "The prompt of this endpoint has six words."), FINISHED)

    assert "The prompt of this endpoint has six words." == client.text()


def test_shorter_prompt_is_not_looked_for() -> None:
    assert compile_output(OutputRules(prompt_leak=PromptLeak()), "Be brief.") is None


WHOLE = Reply(
    id="chatcmpl-1",
    model="gpt",
    content="Write to max@example.com.",
    finish_reason="stop",
    tool_calls=(ToolCall("c1", "send", '{"to": "max@example.com"}'),),
    reasoning="of max@example.com",
    reasoning_blocks=(Reasoning("of max@example.com", "sig"),),
    logprobs={"content": []},
)


def test_whole_answer_is_masked_everywhere() -> None:
    reply, verdicts = MASKS.check(WHOLE)

    assert "max@example.com" not in repr(reply)
    assert ("Write to [E-Mail REDACTED].", "of [E-Mail REDACTED]", ()) == (
        reply.content,
        reply.reasoning,
        reply.reasoning_blocks,
    )
    assert {"to": "[E-Mail REDACTED]"} == json.loads(reply.tool_calls[0].arguments)
    assert [evolve(MAIL, count=3)] == verdicts


def test_clean_answer_stays_the_same_object() -> None:
    reply = evolve(WHOLE, content="Hi.", tool_calls=(), reasoning=None, reasoning_blocks=())

    assert (reply, []) == MASKS.check(reply)
    assert reply is MASKS.check(reply)[0]


def test_whole_answer_names_the_first_type() -> None:
    guards = compiled(pii_filter=PiiFilter(mode="block"))

    with pytest.raises(GuardrailBlocked, match="Response blocked: E-Mail detected"):
        guards.check(evolve(WHOLE, content="+49 171 1234567, max@example.com", tool_calls=()))


def overtaken(text: str, other: list[Event]) -> list[Event]:
    """The text a character at a time, and another event behind each."""
    return [event for at, char in enumerate(text) for event in (ContentDelta(char), other[at % len(other)])]


@pytest.mark.parametrize("reasoning", ["", "so "])
def test_reasoning_in_each_chunk_opens_no_gap(reasoning: str) -> None:
    client = Client()

    client.take(OPENED, *overtaken("card 4111111111111111, max@example.com.", [ReasoningDelta(reasoning)]), FINISHED)

    assert "card [Credit card REDACTED], [E-Mail REDACTED]." == client.text()


def test_match_that_calls_cut_in_pieces_shows_its_first_piece() -> None:
    client = Client()
    calls: list[Event] = [ToolCallDelta(at, f"c{at}", "find", "{}") for at in range(40)]
    client.take(OPENED, *overtaken("card 4111111111111111, ok.", calls))

    with pytest.raises(GuardrailBlocked, match="Credit card detected in output"):
        client.take(FINISHED)

    assert "card 4[Credit card REDACTED], " == client.text()


def test_reasoning_between_content_shows_its_first_piece() -> None:
    client = Client()
    for char in "4111111111111111 ok":
        client.take(ReasoningDelta(char), ContentDelta("x "))

    with pytest.raises(GuardrailBlocked, match="Credit card detected in output"):
        client.take(FINISHED)

    told = [event.text for event in client.events if isinstance(event, ReasoningDelta)]
    assert "4[Credit card REDACTED] " == "".join(told)


def test_arguments_of_two_calls_in_turn_show_the_first_piece() -> None:
    client = Client()
    client.take(OPENED, ToolCallDelta(0, "a", "find", '{"q":"'), ToolCallDelta(1, "b", "find", '{"q":"'))
    for char in "4111111111111111 ok":
        client.take(ToolCallDelta(0, None, None, char), ToolCallDelta(1, None, None, "y"))

    with pytest.raises(GuardrailBlocked, match="Credit card detected in output"):
        client.take(FINISHED)

    calls = [event for event in client.events if isinstance(event, ToolCallDelta)]
    assert '{"q":"4[Credit card REDACTED] ' == "".join([call.arguments for call in calls if call.index == 0])


def test_text_after_each_call_comes_before_the_next_one() -> None:
    client = Client()
    client.take(OPENED, ContentDelta("First this"), ToolCallDelta(0, "a", "find", "{}"), ContentDelta(" and then that"))

    passed = client.take(ToolCallDelta(1, "b", "find", "{}"))

    assert ContentDelta("that") == passed[0]


def test_what_was_sent_of_an_answer_that_begins_anew_is_checked() -> None:
    rule = PiiFilter(types=(), custom_patterns=(CustomPattern("Note", r"<note>[^<]*</note>"),))
    client = Client(compiled(pii_filter=rule, hold_back_chars=10))
    client.take(OPENED, ContentDelta("<note>"), ContentDelta("secret " * 5), ContentDelta("</note> and more of it"))

    with pytest.raises(GuardrailBlocked, match="Note detected in output"):
        client.take(Joined("restart", 11, "groq", "llama", "cut"))


@pytest.mark.parametrize("before", ["", "a ", "é ", "1.2.3.4 ", "so. "])
@pytest.mark.parametrize("word", ["f o r b i d d e n", "f.o.r.b.i.d.d.e.n", "o r d e r"])
def test_word_with_spaces_in_it_waits_behind_single_letters(before: str, word: str) -> None:
    guards = compiled(keyword_blocklist=KeywordBlocklist(words=("forbidden", "order"), mode="mask"))
    whole, pieces = Client(guards), Client(guards)

    whole.take(OPENED, ContentDelta(f"It is {before}{word} now"), FINISHED)
    pieces.take(OPENED, *[ContentDelta(char) for char in f"It is {before}{word} now"], FINISHED)

    assert whole.text() == pieces.text()
    assert "[Keyword REDACTED] now" in pieces.text()


@pytest.mark.parametrize("text", ["It is two w0rds, now", "two two  w0rds. two wards now"])
def test_disguise_in_the_second_word_waits(text: str) -> None:
    guards = compiled(keyword_blocklist=KeywordBlocklist(words=("two words",), mode="mask"))
    whole, pieces = Client(guards), Client(guards)

    whole.take(OPENED, ContentDelta(text), FINISHED)
    pieces.take(OPENED, *[ContentDelta(char) for char in text], FINISHED)

    assert whole.text() == pieces.text()
    assert 1 == whole.text().count("[Keyword REDACTED]")


def test_work_is_the_text_that_is_read_again_at_an_end() -> None:
    guards = compile_output(OutputRules(pii_filter=PiiFilter()), None)
    assert guards is not None
    answer = guards.open_stream(lambda verdict: None, shows_reasoning=True)
    steps: list[tuple[int, Event]] = [
        (4, ReasoningDelta("Let ")),
        (100, ContentDelta("a " * 50)),
        (9, ToolCallDelta(0, "call_1", "f", '{"to": "m')),
        (4, ToolCallDelta(0, None, None, "axim")),
        # Its string ends: seven characters and the key are read again.
        (3 + len("to: maxim"), ToolCallDelta(0, None, None, '", ')),
        (104, Finished("stop")),
    ]

    for chars, event in steps:
        assert (event, chars) == (event, answer.work_chars([event]))
        answer.take([event])


def test_opening_waits_for_what_passes() -> None:
    """It would send the head, so that a refusal is no ordinary answer any more."""
    guards = compile_output(OutputRules(pii_filter=PiiFilter(mode="block")), None)
    assert guards is not None
    answer = guards.open_stream(lambda verdict: None, shows_reasoning=True)

    assert [] == answer.take([OPENED])
    assert [] == answer.take([ContentDelta("max@exam")])
    with pytest.raises(GuardrailBlocked):
        answer.take([ContentDelta("ple.com now")])


def test_opening_comes_with_the_first_text() -> None:
    guards = compile_output(OutputRules(pii_filter=PiiFilter()), None)
    assert guards is not None
    answer = guards.open_stream(lambda verdict: None, shows_reasoning=True)

    passed = [answer.take([event]) for event in (OPENED, ContentDelta("Hel"), ContentDelta("lo "), FINISHED)]

    assert [[], [], [OPENED, ContentDelta("Hello ")], [FINISHED]] == passed
