"""The guardrail `reversible_redaction`: personal data becomes `[[EMAIL_001]]` for all but the caller.

Rules:
1. The provider, the log and the session see the placeholders. What they stand for is in the memory of one request.
2. The same text has the same placeholder. Its name is the type, or the custom pattern's label, in upper case.
3. Numbers begin after the highest of the same name that is in the request already, in the endpoint's own prompt, or in
   the session's history. So what looks like a placeholder, but is none of this request, is never replaced. Where
   somebody wrote the highest number there is, a name goes on with a suffix: `[[EMAIL_X_001]]`.
4. A placeholder is written exactly, and read loosely, because models change case, spaces and escapes. What is read
   loosely also counts for the highest number.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import frozen

from pg_trio.domain.chat import ChatRequest, Message
from pg_trio.domain.guardrails import ReversibleRedaction
from pg_trio.errors import RedactionRefused
from pg_trio.stages.guardrails.byte_finder import ByteFinder
from pg_trio.stages.guardrails.detection import Match
from pg_trio.stages.guardrails.detectors import pii_finder
from pg_trio.stages.guardrails.pii_masks import Guarded, mask_request
from pg_trio.stages.guardrails.request_guard import RequestGuard, Verdicts, pieces_of

# Nine digits: a longer number is no placeholder.
PLACEHOLDER = re.compile(r"\[\[([A-Z][A-Z0-9_]{0,99})_([0-9]{3,9})\]\]")
# As a model may write one: in another case, with spaces inside, fewer zeros, other signs between its parts, or escaped
# for Markdown (`\\[\\[EMAIL\\_001\\]\\]`; in JSON each backslash is two).
LOOSE_PLACEHOLDER = re.compile(r"(\\{0,2})\[\\{0,2}\[([A-Za-z0-9_ \\-]{3,140})\]\\{0,2}\]")
_BEGUN = re.compile(r"\\{1,2}|\\{0,2}\[(?:\\{0,2}(?:\[([A-Za-z0-9_ \\-]{0,140})(?:\]\\{0,2})?)?)?")
_INNER = re.compile(r"([A-Z][A-Z0-9_]{0,99})_([0-9]{1,9})")
# How many more characters such a writing has: eight backslashes at its brackets, and spaces; and two before each "_".
_LOOSE_CHARS = 24
_ESCAPE_CHARS = 2
_HIGHEST = 10**9 - 1
_NAME_CHARS = 90
_NOT_NAME = re.compile(r"[^A-Z0-9]+")


class Redaction:
    """The placeholders of one request, and the texts that they stand for; `repr` does not show these."""

    def __init__(self, highest: Mapping[str, int]) -> None:
        self._numbers = dict(highest)
        self._placeholders: dict[tuple[str, str], str] = {}
        self.texts: dict[str, str] = {}
        # The names of its placeholders, each with the "_" before a number: few, however many placeholders there are.
        self._names: set[str] = set()

    def write(self, text: str, matches: Sequence[Match]) -> str:
        """The text with placeholders for the matches."""
        parts: list[str] = []
        done = 0
        for match in matches:
            parts += (text[done : match.start], self._placeholder(match.rule, text[match.start : match.end]))
            done = match.end
        parts.append(text[done:])
        return "".join(parts)

    def _placeholder(self, rule: str, text: str) -> str:
        name = _NOT_NAME.sub("_", rule.upper()).strip("_") or "TEXT"
        # So short that the name, with what may be added to it, is one of a placeholder.
        name = (name if name[0].isalpha() else f"N{name}")[:_NAME_CHARS].rstrip("_")
        known = self._placeholders.get((name, text))
        if known is not None:
            return known
        free = name
        while self._numbers.get(free, 0) >= _HIGHEST:
            free = f"{free}_X"
        number = self._numbers[free] = self._numbers.get(free, 0) + 1
        self._names.add(f"{free}_")
        placeholder = self._placeholders[name, text] = f"[[{free}_{number:03d}]]"
        self.texts[placeholder] = text
        return placeholder

    def renumber(self, request: ChatRequest, others: Iterable[str]) -> tuple[ChatRequest, Redaction]:
        """The request, and its redaction, with numbers that go on after those in these other texts."""
        taken = highest_numbers(others)
        if not taken.keys() & {*self._counts(), *(name for name, _ in self._placeholders)}:
            return request, self
        moved = Redaction(merge_highest(taken, self._reserved()))
        renamed = {old: moved._placeholder(name, text) for (name, text), old in self._placeholders.items()}

        def rename(piece: str) -> str:
            return PLACEHOLDER.sub(lambda found: renamed.get(found[0], found[0]), piece)

        masks = {piece: new for piece in pieces_of(request) if (new := rename(piece)) != piece}
        return mask_request(request, masks), moved

    def _reserved(self) -> dict[str, int]:
        """The numbers below this request's own."""
        counts = self._counts()
        return {name: number - counts.get(name, 0) for name, number in self._numbers.items()}

    def _counts(self) -> dict[str, int]:
        """How many placeholders of this request have each name."""
        return Counter(placeholder[2:].rpartition("_")[0] for placeholder in self.texts)

    def restore(self, text: str) -> str:
        """The text with the original texts in the place of their placeholders, also of those written loosely."""
        return LOOSE_PLACEHOLDER.sub(lambda found: self._original(found, self.texts.get), text)

    def restore_json(self, text: str) -> str:
        """The same inside the strings of JSON text."""
        return LOOSE_PLACEHOLDER.sub(lambda found: self._original(found, self._escaped), text)

    def _original(self, found: re.Match[str], text_of: Callable[[str], str | None]) -> str:
        text = text_of(_canonical(found[2]))
        if text is None:
            return found[0]
        # A backslash in front belongs to it only if the rest of it is escaped, too.
        return text if "\\" in found[0][len(found[1]) :] else found[1] + text

    def _escaped(self, placeholder: str) -> str | None:
        text = self.texts.get(placeholder)
        return None if text is None else json.dumps(text, ensure_ascii=False)[1:-1]

    @property
    def longest_chars(self) -> int:
        """How long a placeholder is in any writing."""
        return max([len(each) + _ESCAPE_CHARS * each.count("_") for each in self.texts]) + _LOOSE_CHARS

    def may_begin(self, begun: str) -> bool:
        """Whether a text may be the beginning of a placeholder, in any writing, that is not whole yet."""
        found = _BEGUN.fullmatch(begun)
        if found is None:
            return False
        inner = _plain(found[1] or "")
        return any(
            name.startswith(inner) or (inner.startswith(name) and (inner[len(name) :] or "0").isdigit())
            for name in self._names
        )


def highest_numbers(texts: Iterable[str]) -> dict[str, int]:
    """The highest number of each name of what looks like placeholders in the texts."""
    highest: dict[str, int] = {}
    for text in texts:
        if "[" in text:
            for found in LOOSE_PLACEHOLDER.finditer(text):
                inner = _INNER.fullmatch(_plain(found[2]))
                if inner is not None:
                    highest[inner[1]] = max(highest.get(inner[1], 0), int(inner[2]))
    return highest


def _plain(inner: str) -> str:
    """A placeholder's name and number, without what a loose writing adds."""
    return inner.replace("\\", "").strip(" ").replace(" ", "_").replace("-", "_").upper()


def _canonical(inner: str) -> str:
    found = _INNER.fullmatch(_plain(inner))
    return "" if found is None else f"[[{found[1]}_{int(found[2]):03d}]]"


def merge_highest(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    """The higher number of each name."""
    return {name: max(first.get(name, 0), second.get(name, 0)) for name in {**first, **second}}


def texts_of(messages: Iterable[Message]) -> Iterable[str]:
    """Every text of the messages."""
    return (text for message in messages for text in message.texts())


@frozen(slots=True, eq=False)
class Redactor:
    """A `reversible_redaction` rule, compiled."""

    _finder: ByteFinder
    _guard: RequestGuard

    def redact(self, request: Guarded) -> tuple[Guarded, Verdicts, Redaction | None]:
        """The request with placeholders, the same object if there are none; the verdicts; and the redaction.

        Raises: RedactionRefused for a name, an id or an object's key that matches.
        """
        plain = request.plain_text
        if (self._finder.is_clean(plain)) if plain is not None else not self._finder.detectors:
            return request, (), None
        redaction = Redaction(highest_numbers(pieces_of(request)))
        request, verdicts = self._guard.apply(request, redaction.write)
        return request, verdicts, redaction if redaction.texts else None


def compile_redactor(rule: ReversibleRedaction) -> Redactor:
    """Compile the rule. Raises: ValueError for a custom pattern or a type that cannot be used, with its name."""
    try:
        finder = pii_finder(rule.types, rule.custom_patterns)
    except ValueError as error:
        raise ValueError(f"reversible_redaction.{error}") from None
    guard = RequestGuard("reversible_redaction", False, finder, _refuse, bool(rule.custom_patterns), "redact")
    return Redactor(finder, guard)


def _refuse(match: Match) -> RedactionRefused:
    return RedactionRefused(match.label, rule=match.rule)
