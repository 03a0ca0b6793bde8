"""A rule for the text of answers, compiled; and what all rules of an endpoint find in one text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from attrs import frozen

from pg_trio.domain.guardrails import GuardAction, GuardrailVerdict
from pg_trio.stages.guardrails.detection import Finder, Match
from pg_trio.stages.guardrails.output.holds import Hold
from pg_trio.stages.guardrails.request_guard import Refuse


@frozen(slots=True, eq=False)
class TextRule:
    """One rule. `hold` says where a stream must wait for it; see holds.py.

    `sign`: what every match has in it; None: nothing is known. `least_chars`: the length of the shortest match. They
    spare a stream the search in most of its tokens.
    """

    guardrail: str
    action: GuardAction
    finder: Finder
    refuse: Refuse
    hold: Hold
    sign: re.Pattern[str] | None = None
    least_chars: int = 1
    # How much of the sent text is read again: what the rule reads before a match, and as much as a match may have, so
    # that one of which a part was sent is noticed.
    context_chars: int = 0

    def may_match(self, text: str, start: int) -> bool:
        """Whether a match may begin at this place or later."""
        if len(text) - start < self.least_chars:
            return False
        return self.sign is None or self.sign.search(text, start) is not None


class RulePlace(NamedTuple):
    """A part of a text that a rule masks or refuses. It may be a part of the match, if another rule masks the rest."""

    start: int
    end: int
    rule: TextRule
    match: Match


def find_places(rules: Iterable[TextRule], text: str, since: int = 0) -> list[RulePlace]:
    """What the rules find in a text, in its order, without overlaps: what an earlier rule masks is masked already.

    Matches that end before `since` may be missing.
    """
    places: list[RulePlace] = []
    for rule in rules:
        begin = max(since - rule.context_chars, 0)
        matches = rule.finder.find(text[begin:] if begin else text)
        if matches:
            if begin:
                matches = [match._replace(start=match.start + begin, end=match.end + begin) for match in matches]
            found = _uncovered(places, rule, matches)
            places = sorted([*places, *found], key=_start) if places else found
    return places


def _start(place: RulePlace) -> int:
    return place.start


def _uncovered(places: Sequence[RulePlace], rule: TextRule, matches: Iterable[Match]) -> list[RulePlace]:
    """The parts of the matches that no other place has. Both are in order and without overlaps."""
    parts: list[RulePlace] = []
    at = 0
    for match in matches:
        begin = match.start
        while at < len(places) and places[at].start < match.end:
            place = places[at]
            if begin < place.start:
                parts.append(RulePlace(begin, place.start, rule, match))
            begin = max(begin, place.end)
            if place.end > match.end:
                # It may cover the next one, too.
                break
            at += 1
        if begin < match.end:
            parts.append(RulePlace(begin, match.end, rule, match))
    return parts


class VerdictBook:
    """The verdicts about one answer. A place that is masked in several pieces counts once."""

    __slots__ = ("_new",)

    def __init__(self) -> None:
        self._new: dict[tuple[str, str, GuardAction], int] = {}

    def count(self, guardrail: str, rule: str, action: GuardAction) -> None:
        """One more place of this part of the rule."""
        key = (guardrail, rule, action)
        self._new[key] = self._new.get(key, 0) + 1

    def take_new(self) -> Sequence[GuardrailVerdict]:
        """Those since the last call, in the order in which each was found first."""
        if not self._new:
            return ()
        new, self._new = self._new, {}
        return [GuardrailVerdict(name, rule, "output", action, n) for (name, rule, action), n in new.items()]
