"""Finds the endpoint's own prompt in a text: a run of its words, in any case, with any signs between them.

The prompt's words are a suffix automaton: for each word of a text it knows the longest run of the prompt that ends
there, in constant time.

Source: Blumer et al., The smallest automaton recognizing the subwords of a text (1985).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from pg_trio.stages.guardrails.detection import Match

RULE, LABEL = "prompt", "System prompt"
# Scripts without spaces between words: each character counts as a word.
_SINGLE = r"\u0E00-\u0EFF\u1780-\u17FF\u3040-\u30FF\u3400-\u9FFF\uAC00-\uD7AF\uF900-\uFAFF"
_WORD = re.compile(rf"[{_SINGLE}]|[^\W_{_SINGLE}]+")


class _Runs:
    """The runs of a prompt's words. A state's `links` are the words that can follow, its `shorter` the longest shorter
    run that can go on otherwise."""

    def __init__(self, words: list[str]) -> None:
        self._links: list[dict[str, int]] = [{}]
        self._shorter = [-1]
        self._length = [0]
        last = 0
        for word in words:
            last = self._add(word, last)

    def _add(self, word: str, last: int) -> int:
        state = self._new({}, self._length[last] + 1)
        at = last
        while at >= 0 and word not in self._links[at]:
            self._links[at][word] = state
            at = self._shorter[at]
        if at < 0:
            self._shorter[state] = 0
            return state
        found = self._links[at][word]
        if self._length[found] == self._length[at] + 1:
            self._shorter[state] = found
            return state
        copy = self._new(dict(self._links[found]), self._length[at] + 1)
        self._shorter[copy] = self._shorter[found]
        while at >= 0 and self._links[at].get(word) == found:
            self._links[at][word] = copy
            at = self._shorter[at]
        self._shorter[found] = self._shorter[state] = copy
        return state

    def _new(self, links: dict[str, int], length: int) -> int:
        self._links.append(links)
        self._shorter.append(0)
        self._length.append(length)
        return len(self._links) - 1

    def step(self, state: int, length: int, word: str) -> tuple[int, int]:
        """The state and the length of the longest run that ends with this word, after a run of that state."""
        while state and word not in self._links[state]:
            state = self._shorter[state]
            length = self._length[state]
        following = self._links[state].get(word)
        return (0, 0) if following is None else (following, length + 1)

    def longest_before(self, state: int, length: int, begun: str) -> int:
        """How many words of the run that ends here a word may continue that begins so."""
        while state and not any(word.startswith(begun) for word in self._links[state]):
            state = self._shorter[state]
            length = self._length[state]
        return length


class PromptFinder:
    """A prompt, compiled. See detection.Finder."""

    context_chars = 0

    def __init__(self, prompt: str, min_words: int) -> None:
        words = list(_WORD.finditer(prompt))
        self._runs = _Runs([found[0].casefold() for found in words])
        self._min_words = min_words
        pairs = zip(words, words[min_words - 1 :], strict=False)
        # As the prompt is written; more signs between its words make it longer.
        self.reach_chars = max([last.end() - first.start() for first, last in pairs], default=0)

    @property
    def longest_match_chars(self) -> Mapping[str, int | None]:
        """A run may be as long as the prompt, but is decided after `min_words` of them."""
        return {RULE: self.reach_chars}

    def find(self, text: str) -> list[Match]:
        """Every run of at least `min_words` words, at its full length."""
        found: list[Match] = []
        starts: list[int] = []
        state = length = 0
        for word in _WORD.finditer(text):
            starts.append(word.start())
            state, length = self._runs.step(state, length, word[0].casefold())
            if length >= self._min_words:
                start = starts[-length]
                if found and start <= found[-1].end:
                    start = found.pop().start
                found.append(Match(start, word.end(), RULE, LABEL))
        return found

    def find_each(self, pieces: Iterable[str]) -> dict[str, list[Match]]:
        """The pieces that have one."""
        found = ((piece, self.find(piece)) for piece in dict.fromkeys(pieces))
        return {piece: matches for piece, matches in found if matches}

    def find_first(self, pieces: Iterable[str]) -> Match | None:
        """The first of them."""
        return next((matches[0] for matches in self.find_each(pieces).values()), None)

    def hold(self, text: str, since: int) -> int:
        """From where on a run may go on at the end: see holds.py. The last word may be incomplete."""
        runs, starts = self._runs, list[int]()
        state = length = 0
        for word in _WORD.finditer(text, since):
            starts.append(word.start())
            if word.end() == len(text):
                rest = runs.longest_before(state, length, word[0].casefold())
                return starts[-1 - rest]
            state, length = runs.step(state, length, word[0].casefold())
        return starts[-length] if length else len(text)


@lru_cache(maxsize=1024)
def prompt_finder(prompt: str, min_words: int) -> PromptFinder:
    """The finder of a prompt; endpoints with the same one share it."""
    return PromptFinder(prompt, min_words)
