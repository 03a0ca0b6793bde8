"""Client tokens: minted with a stored token, and verified without reading the file.

Rules:
1. A client token is good while its parent is: active, with the scope `mint`, and with the text that it had. The parent
   is remembered as every token is, so that its change ends its client tokens within one poll.
2. A verified token is remembered by the SHA-256 of its whole text, until the file of tokens changes. Its end is checked
   at each request. A token that is refused is not remembered: refusing a forged one takes 2 µs.
3. Of the parent it has the project, the id and the limits.
"""

from __future__ import annotations

import hmac
import secrets
import time
from typing import Protocol

from pg_trio.domain.client_grant import ClientGrant
from pg_trio.domain.mint_terms import MintTerms
from pg_trio.domain.project import Token, TokenLimits
from pg_trio.domain.signing_key import SigningKey, choose_signing_key
from pg_trio.errors import BadRequest, StoreError, TokensUnavailable, TooManyHolders
from pg_trio.ledger.protocols import OpenHolders
from pg_trio.stores.client_token_text import MOST_CHARS, PREFIX, mark_parent, read_text, write_text

MINT = "mint"
# What a client token may do.
_SCOPES = ("chat",)
# 9 bytes: 72 random bits, 12 characters. Tokens of the same parent must differ.
ID_BYTES = 9
_NO_LIMITS = TokenLimits()


class ParentTokens(Protocol):
    """What client tokens need of the stored ones: see store.tokens."""

    @property
    def generation(self) -> int: ...

    @property
    def signing_keys(self) -> tuple[SigningKey, ...]:
        """Raises StoreError if they could not be read yet."""

    async def catch_up(self) -> None:
        """Learn what has changed, if that was not looked for within the last second."""

    async def find_by_id(self, token_id: int) -> Token | None:
        """Raises StoreError if it must be read and cannot be."""

    def keep_verified(self, digest: bytes, token: Token, generation: int) -> None: ...

    def recall_verified(self, digest: bytes, at: float) -> Token | None: ...


class ClientTokens:
    """Mints and verifies client tokens. `at` is Unix seconds."""

    def __init__(self, parents: ParentTokens) -> None:
        self._parents = parents

    def mint(self, parent: Token, terms: MintTerms, at: float) -> tuple[ClientGrant, str]:
        """A new client token of this parent, and its text, which exists nowhere else.

        Raises: BadRequest if the text would be too long, TokensUnavailable if there is no key.
        """
        try:
            key = choose_signing_key(self._parents.signing_keys, at)
        except StoreError as error:
            raise TokensUnavailable from error
        if key is None:
            raise TokensUnavailable
        grant = terms.grant(parent.id, secrets.token_urlsafe(ID_BYTES), at)
        text = write_text(grant, parent.digest, key)
        if len(text) > MOST_CHARS:
            raise BadRequest(f"The token would have more than {MOST_CHARS} characters: name fewer endpoints.")
        return grant, text

    def recall(self, digest: bytes, at: float) -> Token | None:
        """The client token whose text has this SHA-256, if it was verified already and is good; else ask `find`."""
        token = self._parents.recall_verified(digest, at)
        return None if token is None or token.grant is None or at >= token.grant.expires_at else token

    async def find(self, text: str, digest: bytes, at: float) -> Token | None:
        """The client token of this text, whose SHA-256 is `digest`; None for one that is not good.

        Raises: StoreError if the parent or the keys must be read and cannot be.
        """
        parents = self._parents
        # Also the keys may be old: another worker has signed with one that is unknown here.
        await parents.catch_up()
        if (recalled := self.recall(digest, at)) is not None:
            return recalled
        generation = parents.generation
        signed = read_text(text, parents.signing_keys)
        if signed is None or at >= signed.grant.expires_at:
            return None
        parent = await parents.find_by_id(signed.grant.parent_id)
        if parent is None or not parent.is_active or MINT not in parent.scopes:
            return None
        if not hmac.compare_digest(signed.parent_mark, mark_parent(parent.digest, signed.key)):
            return None
        token = _make_token(parent, signed.grant, digest)
        parents.keep_verified(digest, token, generation)
        return token


def _make_token(parent: Token, grant: ClientGrant, digest: bytes) -> Token:
    limits = parent.limits
    if limits is None and (grant.rate_limit_per_minute is not None or grant.max_concurrent is not None):
        limits = _NO_LIMITS
    return Token(
        id=parent.id,
        project_uuid=parent.project_uuid,
        name=parent.name,
        prefix=PREFIX,
        digest=digest,
        env=parent.env,
        scopes=_SCOPES,
        is_active=True,
        created_at=parent.created_at,
        limits=limits,
        grant=grant,
    )


async def mint_for(
    client_tokens: ClientTokens, open_holders: OpenHolders | None, parent: Token, terms: MintTerms
) -> tuple[ClientGrant, str]:
    """Mint a client token now, if its holder's limits and budget can be counted.

    Raises TooManyHolders, and what `ClientTokens.mint` and the ledger raise.
    """
    grant, text = client_tokens.mint(parent, terms, time.time())
    if grant.is_limited and open_holders is not None and not (await open_holders()).has_room(grant.key):
        raise TooManyHolders
    return grant, text
