"""The picture of one request: bars on one time axis, in the order of the race."""

from __future__ import annotations

from uuid import UUID

import pytest
from attrs import evolve

from pg_trio.cli.show import ASCII, BLOCKS, LABEL_CHARS, choose_glyphs, draw
from pg_trio.domain.log_row import AttemptRow, LogRow

HEDGED = LogRow(
    request_id=UUID(int=1),
    at=1_700_000_000.0,
    status=200,
    latency_ms=1000.0,
    endpoint_slug="summarize",
    provider="anthropic",
    model="claude",
    prompt_tokens=5,
    completion_tokens=6,
    cost_nano_usd=1_500_000,
    stages='{"auth":50.0,"read":50.0,"provider":800.0,"output_schema":100.0}',
    attempts=(
        AttemptRow("openai", "gpt-4o", "main", 100.0, 900.0, "cancelled: hedge lost"),
        AttemptRow("anthropic", "claude", "spare", 300.0, 900.0, "won", 600.0, "", True),
    ),
    surface="gateway",
    outcome="ok",
    deadline_ms=1_200,
)


def bar_of(line: str) -> tuple[int, int]:
    """Where a bar begins and ends, as shares of the axis in percent."""
    axis = line[LABEL_CHARS : LABEL_CHARS + 100]
    places = [place for place, sign in enumerate(axis) if sign in "█▒◆░▌"]
    return places[0], places[-1]


def lines_of(row: LogRow, columns: int = 170) -> list[str]:
    return list(draw(row, columns))


def test_race_is_drawn_on_one_axis() -> None:
    # 170 columns: 100 characters of axis for 1,200 ms.
    head, tokens, _, ticks, before, lost, won, after = lines_of(HEDGED)

    assert head == (
        "00000000-0000-0000-0000-000000000001  2023-11-14T22:13:20.000Z  200 ok · gateway · summarize · anthropic"
        " · claude · 1000.0 ms"
    )
    assert "5 + 6 tokens, 0.001500 USD" == tokens
    assert ticks.strip().startswith("0 ms")
    assert ticks.endswith("│ deadline 1200")
    assert before.startswith("auth · read")
    assert before.endswith(" 100.0 ms")
    assert (8, 75) == bar_of(lost)
    assert lost.endswith("cancelled at 900: another won")
    assert "░" == lost[LABEL_CHARS + 75]
    assert (25, 75) == bar_of(won)
    assert "◆" == won[LABEL_CHARS + 50]
    assert {"▒"} == set(won[LABEL_CHARS + 25 : LABEL_CHARS + 50])
    assert won.endswith("won at 900   (hedge at 300, first token ◆ 600)")
    assert "│" == won[LABEL_CHARS + 99]
    assert after.startswith("output_schema")
    assert after.endswith(" 100.0 ms")
    assert 75 == bar_of(after)[0]


def test_far_deadline_is_left_out() -> None:
    lines = lines_of(evolve(HEDGED, deadline_ms=120_000))

    assert "│" not in "".join(lines)
    assert lines[3].endswith("1000 ms")


def test_failures_say_why() -> None:
    failed = AttemptRow("openai", "gpt", "main", 1.0, 2.0, "failed: 500", None, "status 500")
    skipped = AttemptRow("groq", "llama", "main", 2.0, 2.0, "passed over: aside", None, "put aside")
    cut = AttemptRow("openai", "gpt", "main", 2.0, 9.0, "cancelled")

    lines = lines_of(evolve(HEDGED, attempts=(failed, skipped, cut), error="Provider call failed: \x1b[31mno"))

    assert lines[-4].endswith("failed at 2: status 500")
    assert lines[-3].endswith("not asked: put aside")
    assert lines[-2].endswith("cancelled at 9")
    assert "Provider call failed: ?[31mno" in lines


def test_request_that_met_no_provider_has_its_stages() -> None:
    lines = lines_of(LogRow(UUID(int=2), 0.0, 401, 0.25, stages='{"auth":0.25}', error_code="X", error="no"))

    assert lines[-1].startswith("auth")
    assert lines[-1].endswith(" 0.2 ms")


def test_row_without_anything_is_drawn() -> None:
    assert "503" in lines_of(LogRow(UUID(int=2), 0.0, 503, 0.0))[0]


@pytest.mark.parametrize("columns", [1, 40, 80, 500])
def test_every_width_is_drawn(columns: int) -> None:
    assert 8 == len(lines_of(HEDGED, columns))


@pytest.mark.parametrize(("encoding", "glyphs"), [("utf-8", BLOCKS), ("ascii", ASCII), (None, ASCII), ("what", ASCII)])
def test_terminal_without_blocks_gets_ascii(encoding: str | None, glyphs: object) -> None:
    assert glyphs == choose_glyphs(encoding)
    assert "".join(draw(HEDGED, 100, ASCII)).isascii()
