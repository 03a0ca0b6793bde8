"""Both corpora of the guardrails, generated from templates: harmless look-alikes, and personal data in plain writing.

Part of each is held out: other templates (look-alikes behind "== held out =="; every second way to write a value, and
every second sentence), and other seeds.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from scripts.bench.benches.guardrails.slots import PERSONAL, VALUES, fill

FOLDER = Path(__file__).parents[4] / "tests" / "recordings" / "guardrails"
_SEEDS = {False: "built with", True: "held out"}
PARTS = ("built with", "held out", "not told apart")
# Which sentences a way to write belongs in.
_SENTENCES = {"phone_us": "phone", "phone_de": "phone", "phone_generic": "phone"}


@frozen
class Line:
    """A text, the list or the template that it is from, and the value in it that must go (None in look-alikes)."""

    kind: str
    text: str
    value: str | None = None


def read_lookalikes(part: str, times: int) -> Iterator[Line]:
    """Each harmless template of one of the PARTS so many times."""
    text = (FOLDER / "lookalikes.txt").read_text(encoding="utf-8")
    templates = dict(zip(PARTS, re.split(r"== .* ==\n", text), strict=True))[part]
    for index, template in enumerate(_lines(templates)):
        for time in range(times):
            yield Line(template, fill(template, random.Random(f"{part} {index} {time}"), VALUES))


def read_personal(held_out: bool, times: int) -> Iterator[Line]:
    """Each way to write each type so many times, each in one of its sentences."""
    lists = _read_lists()
    for kind, formats in lists.items():
        if kind.endswith(" sentences"):
            continue
        sentences = lists[_SENTENCES.get(kind, kind) + " sentences"]
        own_formats, own_sentences = formats[held_out::2], sentences[held_out::2]
        for index, template in enumerate(own_formats):
            for time in range(times):
                rng = random.Random(f"{_SEEDS[held_out]} {kind} {index} {time}")
                value = fill(template, rng, PERSONAL)
                sentence = own_sentences[time % len(own_sentences)]
                yield Line(kind, sentence.replace("\\n", "\n").replace("{}", value), value)


def _read_lists() -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    current: list[str] = []
    for line in _lines((FOLDER / "personal.txt").read_text(encoding="utf-8")):
        if line.startswith("= "):
            current = lists.setdefault(line.removeprefix("= "), [])
        else:
            current.append(line)
    return lists


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("# ")]
