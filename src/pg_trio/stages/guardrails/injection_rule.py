"""A rule of `prompt_injection`, and the pieces that its patterns share.

A pattern has RE2's syntax and ignores case. A space in it, outside of brackets, stands for `GAP`: any
white space.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Literal, TypeAlias

from attrs import frozen

GAP = r"(?:[\s\x{A0}\x{3000}]+)"
# For text whose letters were joined, because an invisible character may have been the only separator of two words.
LOOSE_GAP = r"(?:[\s\x{A0}\x{3000}]*)"

# override: earlier instructions do not count. reveal: say your prompt. persona: be one without rules. mode: switch
# rules off. template: a turn or a role that the text pretends. sign: what attacks and harmless texts have in common.
Category: TypeAlias = Literal["override", "reveal", "persona", "mode", "template", "sign"]


class HarmlessPlace(Enum):
    """The places in which a match is harmless."""

    NONE = "nowhere"
    # "… the above instructions on the old form": the words after it mean papers and people, not a model.
    OBJECT = "where instructions of the real world are meant"
    # In code fences, backticks and quotes: probably a programmer's chat template.
    CODE = "in code"
    # "The film shows an AI without rules": no word before it makes the model one. The pattern does not say so, because
    # short words with fifty characters behind each need a state of the automaton for every set of places.
    TOLD = "where a sentence tells of others"


@frozen(slots=True)
class InjectionRule:
    """`score`: 1 is enough alone; weaker signs add up."""

    id: str
    category: Category
    written: str
    guard: HarmlessPlace = HarmlessPlace.NONE
    score: float = 1.0

    @property
    def pattern(self) -> str:
        """For text as it is written."""
        return _with_gaps(self.written, GAP)

    @property
    def loose_pattern(self) -> str:
        """For text whose words may have lost their spaces."""
        return _with_gaps(self.written, LOOSE_GAP)


# A space, or what holds a space that stays one: an escape or a class of characters.
_SPACE = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]| ", re.DOTALL)


def _with_gaps(written: str, gap: str) -> str:
    return _SPACE.sub(lambda found: gap if found[0] == " " else found[0], written)
