"""One text of a stream: what is decided passes, masked; what a match could still need waits.

Rules:
1. The rules read the waiting text with what was sent before it, because words before a number tell its meaning. So a
   piece costs the time for both, which is bounded, and a stream takes linear time.
2. What waits is at most `hold_back_chars` long. Text that passes for this reason alone was not decided (`is_forced`).
3. Text that another event overtakes passes undecided, but only once: what goes on with it waits until it is decided, or
   for the end. So a match that comes in many pieces, with other events between them, shows its first piece at most.
4. At the end, a text that came in pieces is checked again as a whole, whatever was decided before: some disguises are
   known only by what follows much later. What the rules find now and did not mask has been sent, so it ends the answer:
   mode mask cannot mask it any more.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NoReturn

from attrs import frozen

from pg_trio.stages.guardrails.output.text_rules import RulePlace, TextRule, VerdictBook, find_places

# 16 KiB: the longest match whose end a window follows; the private key of 16,384 bits has 12,900 characters.
_FOLLOWED_CHARS = 16_384


@frozen(slots=True, eq=False)
class WindowRules:
    """The rules of one endpoint for texts. `acting` mask or refuse; `flagging` only tell, at the end.

    `context_chars`: how much of the sent text the rules read before a match.
    """

    acting: Sequence[TextRule]
    flagging: Sequence[TextRule]
    context_chars: int
    hold_back_chars: int

    def hold(self, text: str, since: int) -> int:
        """From where on the text must wait."""
        held = len(text)
        for rule in self.acting:
            held = min(held, rule.hold(text, since))
            if held <= since:
                # All of it waits already.
                break
        return held


class TextWindow:
    """One text. `before` is read before it, but is not a part of it: the key of a value."""

    __slots__ = (
        "_book",
        "_covered",
        "_flushed",
        "_followed_chars",
        "_offset",
        "_rules",
        "_sent",
        "_text",
        "_whole",
        "is_forced",
    )

    def __init__(self, rules: WindowRules, book: VerdictBook, before: str = "") -> None:
        self._rules = rules
        self._book = book
        # What was sent, as far as rules may read it, then what waits.
        self._text = before
        self._sent = len(before)
        # The place of `_text` in the whole text, `before` included.
        self._offset = 0
        self._whole = [before]
        # Places of the whole text that were masked.
        self._covered: list[tuple[int, int]] = []
        # How long the match of the last mask may be.
        self._followed_chars = 0
        # The place of the whole text from which on text was passed undecided, when another event came last.
        self._flushed: int | None = None
        # Whether text has passed that was not decided.
        self.is_forced = False

    @property
    def waits(self) -> bool:
        """Whether any text is held back."""
        return self._sent < len(self._text)

    @property
    def come_chars(self) -> int:
        """Characters of the whole text, `before` included, that have come."""
        return self._offset + len(self._text)

    @property
    def sent_chars(self) -> int:
        """Characters of the whole text, `before` included, that have passed."""
        return self._offset + self._sent

    @property
    def has_masked(self) -> bool:
        """Whether any text was masked."""
        return bool(self._covered)

    def feed(self, piece: str) -> str:
        """The text that is decided with this piece. Raises: GuardrailBlocked."""
        rules = self._rules
        self._whole.append(piece)
        text = self._text = self._text + piece
        held, sent = rules.hold(text, self._sent), self._sent
        bound = max(len(text) - rules.hold_back_chars, sent)
        if held == sent >= bound:
            return ""
        if held < bound:
            # Some more than needed, so that not each token of such a text is searched with the whole window.
            held, self.is_forced = len(text) - rules.hold_back_chars * 7 // 8, True
        # After text has passed undecided, a match may have begun before this piece.
        likely = rules.acting if self.is_forced else [rule for rule in rules.acting if rule.may_match(text, sent)]
        places = find_places(likely, text, 0 if self._is_followed or self.is_forced else sent) if likely else ()
        return self._release(self._settle(places, held, bound), places)

    def flush(self) -> str:
        """The text that waits, before another event; more may follow, so what passes here may be a part of a match.
        Nothing, if it may be more of what was passed so before."""
        if not self.waits or self._goes_on_with_flushed:
            return ""
        self._flushed, self.is_forced = self._offset + self._sent, True
        return self._release(len(self._text), find_places(self._rules.acting, self._text))

    def end(self) -> str:
        """All text that waits; the text is complete. Raises: GuardrailBlocked."""
        text = self._release(len(self._text), find_places(self._rules.acting, self._text)) if self.waits else ""
        self._check("".join(self._whole))
        return text

    def drop(self) -> None:
        """Drop what waits: another text takes this one's place. Raises: GuardrailBlocked, if what was sent matches."""
        self._check("".join(self._whole)[: self.sent_chars])

    @property
    def _goes_on_with_flushed(self) -> bool:
        """Whether a match that what waits may complete may have begun in text that `flush` has passed."""
        if self._flushed is None:
            return False
        return self._rules.hold(self._text, max(self._flushed - self._offset, 0)) < self._sent

    @property
    def _is_followed(self) -> bool:
        """Whether the sent text ends with a mask, whose match may go on."""
        return bool(self._covered) and self._covered[-1][1] == self._offset + self._sent

    def _settle(self, places: Sequence[RulePlace], held: int, bound: int) -> int:
        """The place up to which text passes: not into a match, unless the bound demands it."""
        for place in places:
            if place.start < held < place.end:
                return place.start if place.start >= max(bound, self._sent) else place.end
        return held

    def _release(self, end: int, places: Sequence[RulePlace]) -> str:
        """The text up to `end`, masked."""
        text, done, parts = self._text, self._sent, list[str]()
        for place in places:
            if place.end <= done:
                continue
            if place.start >= end:
                break
            if place.rule.action == "block":
                self._refuse([each for each in places if self._sent < each.end and each.start < end])
            parts.append(text[done : max(place.start, done)])
            parts.append(self._mask(place, done))
            done = place.end
        if done < end:
            parts.append(text[done:end])
        else:
            end = done
        self._sent = end
        self._forget()
        return "".join(parts)

    def _refuse(self, places: Sequence[RulePlace]) -> NoReturn:
        """Raises: GuardrailBlocked for the first rule, in their order, that refuses; it names its own first part."""
        refusing = {place.rule: place.match for place in reversed(places) if place.rule.action == "block"}
        rule = next(rule for rule in self._rules.acting if rule in refusing)
        raise rule.refuse(rule.finder.find_first([self._text]) or refusing[rule])

    def _mask(self, place: RulePlace, done: int) -> str:
        """What is sent for a place; empty for the rest of one whose beginning was masked."""
        start, end = self._offset + place.start, self._offset + place.end
        covered = self._covered
        goes_on = place.start < done and bool(covered) and covered[-1][1] == self._offset + done
        if place.start < done and not goes_on:
            # Its beginning was sent, so it can only be cut: the end of the text says more.
            self.is_forced = True
        if goes_on:
            covered[-1] = (covered[-1][0], end)
            return ""
        covered.append((max(start, self._offset + done), end))
        reach = place.rule.finder.reach_chars
        self._followed_chars = _FOLLOWED_CHARS if reach is None else reach
        self._book.count(place.rule.guardrail, place.match.rule, place.rule.action)
        return f"[{place.match.label} REDACTED]"

    def _forget(self) -> None:
        """Drop sent text that no rule will read."""
        context = self._rules.context_chars
        if self._sent <= 2 * context:
            return
        keep_from = self._sent - context
        if self._is_followed:
            followed = max(self._sent - self._followed_chars, self._covered[-1][0] - self._offset, 0)
            keep_from = min(keep_from, followed)
        # Not inside a word: the rest of one could look like a match.
        space = self._text.find(" ", max(keep_from - context // 2, 0), keep_from)
        keep_from = keep_from if space < 0 else space
        self._text = self._text[keep_from:]
        self._sent -= keep_from
        self._offset += keep_from

    def _check(self, whole: str) -> None:
        """Check what has passed as a whole. Raises: GuardrailBlocked for what should have been masked or refused."""
        rules = self._rules
        own = len(self._whole[0])
        # What came in one piece was read as a whole, unless it was forced to pass.
        came_whole = len(self._whole) <= 2 and not self.is_forced
        for place in () if came_whole else find_places(rules.acting, whole):
            if place.end > own and not self._is_covered(max(place.start, own), place.end):
                raise place.rule.refuse(place.match)
        for rule in rules.flagging:
            for match in rule.finder.find(whole):
                if match.end > own:
                    self._book.count(rule.guardrail, match.rule, rule.action)

    def _is_covered(self, begin: int, stop: int) -> bool:
        covered = self._covered
        at = max(bisect_right(covered, begin, key=_start) - 1, 0)
        while begin < stop and at < len(covered) and covered[at][0] <= begin:
            begin = max(begin, covered[at][1])
            at += 1
        return begin >= stop


def _start(span: tuple[int, int]) -> int:
    return span[0]
