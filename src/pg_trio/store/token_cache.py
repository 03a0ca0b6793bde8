"""A worker's cache of known tokens and of digests that belong to no token. Synchronous, no I/O.

Rules:
1. Each kind has its own bound, so that a flood of invented tokens evicts invented tokens only.
2. Among known tokens the least recently used is evicted first; among unknown digests the oldest.
3. Client tokens that were verified have a bound of their own, too: as many as known tokens.
4. Known tokens are also found by their ids. An id of no token is remembered like a token: only the signed ids of client
   tokens are looked for.
5. A token that was read from the file before `clear` or `forget` is stale. `keep` detects that by `generation`, and
   refuses it.
6. After `good_until` (Unix seconds) nothing is recalled: the file may have changed unnoticed (polls.py). The
   methods that look-ups use do not check that, because a look-up polls first.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection
from hmac import compare_digest
from typing import Final

from pg_trio.domain.project import Token

# Compared if no token was found, so that an unknown token takes the same time as a known one.
_NO_DIGEST = bytes(32)


class Unseen:
    """The type of UNSEEN: the file must be read."""


UNSEEN: Final = Unseen()


class TokenCache:
    """At most `entries` known tokens and as many unknown digests."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._known: OrderedDict[bytes, Token] = OrderedDict()
        self._unknown: dict[bytes, None] = {}
        self._verified: OrderedDict[bytes, Token] = OrderedDict()
        self._by_id: OrderedDict[int, Token | None] = OrderedDict()
        self.generation = 0
        self.good_until = math.inf

    def get(self, digest: bytes) -> Token | Unseen | None:
        """The token, None for a digest that belongs to no token, or UNSEEN."""
        token = self._known.get(digest)
        is_unknown = digest in self._unknown
        if compare_digest(digest, _NO_DIGEST if token is None else token.digest) and token is not None:
            self._known.move_to_end(digest)
            return token
        return None if is_unknown else UNSEEN

    def recall(self, digest: bytes, at: float) -> Token | None:
        """The token, if it is known, active and good at this time; None says nothing. `get` without what only look-ups
        need."""
        if at > self.good_until:
            return None
        token = self._known.get(digest)
        if token is None or not compare_digest(digest, token.digest) or not token.is_active:
            return None
        self._known.move_to_end(digest)
        return token

    def keep(self, digest: bytes, token: Token | None, generation: int) -> None:
        """Remember the file's answer, unless the cache was cleared since `generation`."""
        if generation != self.generation:
            return
        if token is None:
            self._unknown[digest] = None
            if len(self._unknown) > self._entries:
                del self._unknown[next(iter(self._unknown))]
        else:
            self._known[digest] = token
            if len(self._known) > self._entries:
                self._known.popitem(last=False)

    def keep_verified(self, digest: bytes, token: Token, generation: int) -> None:
        """Remember a client token that was verified, unless the cache was cleared since `generation`."""
        if generation == self.generation:
            self._verified[digest] = token
            if len(self._verified) > self._entries:
                self._verified.popitem(last=False)

    def recall_verified(self, digest: bytes, at: float) -> Token | None:
        """The client token whose whole text has this digest, if it is remembered, and its parent good at this time. Its
        end is not checked."""
        if at > self.good_until:
            return None
        token = self._verified.get(digest)
        if token is not None:
            self._verified.move_to_end(digest)
        return token

    def get_by_id(self, token_id: int) -> Token | Unseen | None:
        """The token of this id, None for an id of no token, or UNSEEN."""
        found = self._by_id.get(token_id, UNSEEN)
        if not isinstance(found, Unseen):
            self._by_id.move_to_end(token_id)
        return found

    def keep_by_id(self, token_id: int, token: Token | None, generation: int) -> None:
        """Remember the file's answer, unless the cache was cleared since `generation`."""
        if generation == self.generation:
            self._by_id[token_id] = token
            if len(self._by_id) > self._entries:
                self._by_id.popitem(last=False)

    def clear(self) -> None:
        """Forget everything, including reads in progress."""
        self.generation += 1
        self._known.clear()
        self._verified.clear()
        self._by_id.clear()
        self._unknown.clear()

    def forget(self, token_ids: Collection[int], digests: Collection[bytes] = ()) -> None:
        """Forget these tokens, the client tokens of theirs, what was found for these digests, and reads in progress."""
        self.generation += 1
        for kept in (self._known, self._verified):
            for digest in [digest for digest, token in kept.items() if token.id in token_ids]:
                del kept[digest]
        for token_id in token_ids:
            self._by_id.pop(token_id, None)
        for digest in digests:
            self._known.pop(digest, None)
            self._unknown.pop(digest, None)

    def forget_verified(self) -> None:
        """Forget the client tokens: a key that signed them may be gone."""
        self.generation += 1
        self._verified.clear()
