"""The scan of all injection rules needs little memory for any text: RE2 keeps a state for each set of places at which
rules may be, and a rule that may begin again within its own gap has very many sets."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from pg_trio.stages.guardrails.injection_rule import InjectionRule
from pg_trio.stages.guardrails.injection_rules import RULES
from pg_trio.stages.guardrails.linear import PatternSet

_STATM = Path("/proc/self/statm")
# All rules take 0.4 MB at most; one of the kind told above took 14.
_MOST_BYTES = 4 * 1024 * 1024
_PAGE_BYTES = 4096


def _resident_bytes() -> int:
    return int(_STATM.read_text().split()[1]) * _PAGE_BYTES


@pytest.mark.skipif(not _STATM.exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_text_of_a_rules_own_words_needs_few_states(rule: InjectionRule) -> None:
    words = re.findall(r"[^\W\d_]+", re.sub(r"\\.|\[[^\]]*\]|\{[^}]*\}|\(\?[a-z:]*", "|", rule.written))
    text = " ".join(Random(1).choices([*words, "x", "yy"], k=20_000))[:50_000].encode()
    scan = PatternSet([rule.pattern], ignore_case=True, max_mem_bytes=128 * 1024 * 1024)
    before = _resident_bytes()

    scan.find_indexes(text)

    assert _resident_bytes() - before < _MOST_BYTES
