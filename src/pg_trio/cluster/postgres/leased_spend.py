"""Budgets of all nodes (contract: ledger/protocols.py, SpendBook): PostgreSQL lends, shared memory spends.

Rules:
1. A node's workers spend a lease together, in the memory that they share: settled + reserved + amount stays within
   what was granted to the node. So nearly every reservation is made at once.
2. Granted money is counted in PostgreSQL first and in memory afterwards; returned money in memory first. So memory
   never has more than PostgreSQL, wherever a worker dies. Meanwhile the account is marked in memory (GrantedAmounts);
   the mark of a dead worker is taken back as its reservations are. What PostgreSQL has more than memory while nothing
   is marked is what a dead worker did not count, and is found within MEND_EVERY_S.
3. A lease is at least what is short, and a hundredth of what is left of the budget: near its end, one request. When
   half of it is spent, the next one is asked for in the background.
4. What a node has not needed for IDLE_S goes back, because another node may be short. What is settled is told every
   TELL_S, of TOLD_AT_ONCE accounts by a statement.
5. The holder of a lease is one file of shared memory. A node that starts again with its file goes on; with a new file
   it is another holder. When others take back what a silent one has not spent, and until when it spends: lease_term.py.
   If it comes back later, what it had settled counts, and the rest it does not have any more.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from uuid import UUID, uuid4

import psycopg
import trio
from attrs import define, field

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.postgres.granted_amounts import GRANTED, GrantedAmounts, mend_leases
from pg_trio.cluster.postgres.lease_account import AskedLease, LeaseAccount, ReturnedLease, lock_free
from pg_trio.cluster.postgres.lease_term import LeaseHolder, LeaseTerm, holder_of
from pg_trio.cluster.postgres.postgres_pool import PostgresPool
from pg_trio.cluster.postgres.silent_holders import SilentHolders
from pg_trio.cluster.postgres.spend_reading import read_spends
from pg_trio.cluster.postgres.trio_connection import TrioConnection
from pg_trio.errors import Overloaded
from pg_trio.ledger.protocols import MUST_WAIT, MustWait, Spend
from pg_trio.shared_memory.segment import Segment
from pg_trio.shared_memory.spend import MAX_NANO_USD, SharedSpend

logger = logging.getLogger("pg_trio.cluster")

TELL_S = 1.0
IDLE_S = 2.0
MEND_EVERY_S = 10.0
# For all that a worker returns at its end, as for its log: each answer has its own limit.
CLOSE_LIMIT_S = 5.0
# A statement of so many locks their budgets for some 20 ms: other nodes' leases wait for it.
TOLD_AT_ONCE = 500
# Rounds of leasing for one reservation: other requests may spend what it has leased.
LEASE_ROUNDS = 5
RETRY_AFTER_S = 1
# A look costs as much as a reservation, and a lease is some hundred of these.
LOOK_EVERY = 8
LEASE = "SELECT lent, others_settled, others_leased FROM pgtrio.lease_budget(%s, %s, %s, %s, %s, %s, %s)"
REPORT = (
    "SELECT pgtrio.report_budget(r.endpoint, r.month, %s, %s, r.id, r.settled, r.returned) FROM"
    " unnest(%s::bytea[], %s::integer[], %s::uuid[], %s::bigint[], %s::bigint[])"
    " AS r (endpoint, month, id, settled, returned)"
)
SEEN = (
    "INSERT INTO pgtrio.holders AS h (holder, node, place) VALUES (%s, %s, %s)"
    " ON CONFLICT (holder) DO UPDATE SET seen_at = now(), node = excluded.node, place = excluded.place"
    " RETURNING h.losses"
)
TAKEN = "SELECT endpoint, month, taken FROM pgtrio.budget_leases WHERE holder = %s AND taken > 0 FOR UPDATE"
SUBTRACTED = "UPDATE pgtrio.budget_leases SET taken = 0 WHERE holder = %s AND taken > 0"
HELD = "SELECT endpoint, month, granted FROM pgtrio.budget_leases WHERE holder = %s AND granted > settled"


@define(eq=False)
class LeasedSpend:
    """See the rules."""

    pool: PostgresPool
    holder: LeaseHolder
    spend: SharedSpend
    term: LeaseTerm
    _accounts: dict[tuple[bytes, int], LeaseAccount] = field(factory=dict)
    _low: trio.Event = field(factory=trio.Event)
    _worker: UUID = field(factory=uuid4)
    _is_closing: bool = False

    @property
    def granted(self) -> GrantedAmounts:
        """What was granted to this node."""
        return GrantedAmounts(self.spend)

    def rebind(self, segment: Segment) -> None:
        """The workers have moved to another file of memory (shared_memory/renewal.py): another holder."""
        for account in self._accounts.values():
            if account.is_marked:
                # It was marked in the new file, too.
                self.granted.settle(account.key, account.month, 0)
        self.holder = holder_of(segment, self.term.node)
        self.term.losses = None
        self._accounts.clear()

    # ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def reserve_nowait(self, key: bytes, month: int, amount: int, budget: int) -> Spend | MustWait | None:
        """See SpendBook."""
        if not self.term.may_spend():
            return MUST_WAIT
        account = self._account(key, month)
        stood = self._reserve_here(account, amount, self._granted(account), budget)
        return None if stood is None else MUST_WAIT

    async def reserve(self, key: bytes, month: int, amount: int, budget: int) -> Spend | None:
        """See SpendBook."""
        account = self._account(key, month)
        # One request of this worker leases, the others wait for it and look again.
        async with account.lock:
            for number in range(LEASE_ROUNDS):
                await self._renew_or_refuse()
                granted = self._granted(account)
                stood = self._reserve_here(account, amount, granted, budget)
                if stood is None:
                    return None
                # What is left here counts once: another worker may have counted on it, too, and was faster.
                short = amount if number else sum(stood) + amount - granted
                others = await self._lease_or_refuse(account, max(short, 1), budget)
                if others is not None:
                    return stood[0] + others[0], stood[1] + others[1]
        # Other workers were faster each time.
        raise Overloaded(RETRY_AFTER_S)

    async def _renew_or_refuse(self) -> None:
        """What is leased may be spent afterwards. Raises Overloaded."""
        if not self.term.may_spend():
            try:
                await self.renew()
            except (EngineAway, psycopg.Error) as away:
                logger.debug("leased budgets may not be spent: %s", away)
                raise Overloaded(RETRY_AFTER_S) from away

    async def _lease_or_refuse(self, account: LeaseAccount, short: int, budget: int) -> Spend | None:
        """See `_lease`. Raises Overloaded."""
        try:
            return await self._lease(account, short, budget)
        except (EngineAway, psycopg.Error) as away:
            logger.debug("no budget could be leased: %s", away)
            raise Overloaded(RETRY_AFTER_S) from away

    def settle_nowait(self, key: bytes, month: int, reserved_amount: int, spent: int) -> None:
        """See SpendBook."""
        self.spend.settle(key, month, reserved_amount, spent)

    async def settle(self, key: bytes, month: int, reserved_amount: int, spent: int) -> None:
        """See SpendBook."""
        self.settle_nowait(key, month, reserved_amount, spent)

    async def read(self, keys: Sequence[bytes], month: int) -> dict[bytes, Spend]:
        """See SpendBook."""
        try:
            return await read_spends(self.pool, keys, month)
        except (EngineAway, psycopg.Error) as away:
            raise Overloaded(RETRY_AFTER_S) from away

    # ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _lease(self, account: LeaseAccount, short: int, budget: int) -> Spend | None:
        """Lease what is short, or more; the spend of the other nodes if that does not fit.

        Cancelled, or if the answer is lost, the lease is asked for again later. Raises EngineAway, psycopg.Error.
        """
        if account.returning is not None:
            await self._report([account])
        self._mark(account)
        asked = account.asked = account.asked or AskedLease(short, min(budget, MAX_NANO_USD))
        values = (account.key, account.month, self.holder.id, self._worker, asked.id, asked.short, asked.budget)
        try:
            lent, others_settled, others_leased = await self._ask(LEASE, *values)
        except psycopg.Error:
            account.asked = None
            self._unmark(account)
            raise
        account.asked = None
        self._unmark(account, lent)
        if not lent:
            return others_settled, others_leased - others_settled
        account.last_budget, account.last_lent = asked.budget, lent
        return None

    def _reserve_here(self, account: LeaseAccount, amount: int, granted: int, budget: int) -> Spend | None:
        """Reserve from what was granted to this node; see SpendBook. Some times it looks ahead."""
        stood = self.spend.reserve(account.key, account.month, amount, min(granted, budget))
        if stood is None:
            account.unlooked += 1
            if account.unlooked >= LOOK_EVERY and not account.is_low and budget > 0:
                account.unlooked = 0
                self._look_ahead(account, granted, budget)
        return stood

    def _look_ahead(self, account: LeaseAccount, granted: int, budget: int) -> None:
        account.last_budget = budget
        left = granted - sum(self.spend.read(account.key, account.month))
        if left * 2 < account.last_lent:
            account.is_low = True
            self._low.set()

    async def run(self) -> None:
        """Lease ahead, tell what is settled, return what is idle, and take back from the dead. Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._refill)
            nursery.start_soon(self._tell)
            nursery.start_soon(SilentHolders(self.pool, self.term).run)
            nursery.start_soon(self._mend)

    async def _refill(self) -> None:
        while True:
            await self._low.wait()
            self._low = trio.Event()
            for account in [one for one in self._accounts.values() if one.is_low]:
                try:
                    async with account.lock:
                        await self._lease(account, 1, account.last_budget)
                except (EngineAway, psycopg.Error, Overloaded) as away:
                    # A request that needs it asks by itself.
                    logger.debug("no budget could be leased ahead: %s", away)
                finally:
                    account.is_low = False

    async def _tell(self) -> None:
        is_adopted = False
        while True:
            try:
                if not is_adopted:
                    await self.adopt()
                    is_adopted = True
                await self.tell()
            except (EngineAway, psycopg.Error, Overloaded) as away:
                logger.debug("settled budgets could not be told: %s", away)
                self.term.note_answer(is_away=True)
            else:
                self.term.note_answer(is_away=False)
            await trio.sleep(TELL_S)

    async def adopt(self) -> None:
        """Look after what former workers of this node have leased. Raises EngineAway, psycopg.Error."""
        for key, month, _ in await self.pool.fetch(HELD, self.holder.id):
            self._account(key, month)

    async def renew(self) -> None:
        """Tell that this holder lives, and learn what was taken back from it. Raises EngineAway, psycopg.Error."""
        sent_at, holder = self.term.clock(), self.holder
        ((losses,),) = await self.pool.fetch(SEEN, holder.id, self.term.node.name, holder.place)
        if losses != self.term.losses:
            await self.pool.use(partial(self._subtract_taken, holder))
        if holder is self.holder:
            self.term.losses = losses
            self.term.note_told(sent_at)

    async def _subtract_taken(self, holder: LeaseHolder, connection: TrioConnection) -> None:
        """One worker subtracts it: the rows are locked. If it dies meanwhile, or a report has told it, too much is
        subtracted, which `mend` finds."""
        async with connection.transaction():
            for key, month, taken in await (await connection.execute(TAKEN, (holder.id,))).fetchall():
                # A month that memory has no more must not take a newer one's place.
                if holder is self.holder and self.granted.read(bytes(key), month) > 0:
                    self.granted.add(bytes(key), month, -taken)
            await connection.execute(SUBTRACTED, (holder.id,))

    async def tell(self) -> None:
        """Tell what is settled, and return what is idle. Raises EngineAway, psycopg.Error."""
        await self.renew()
        for account in [one for one in self._accounts.values() if one.asked is not None]:
            async with account.lock:
                if account.asked is not None:
                    await self._lease(account, account.asked.short, account.asked.budget)
        # In the order of their keys, as everyone locks them.
        untold = [self._accounts[key] for key in sorted(self._accounts) if self._is_untold(self._accounts[key])]
        for place in range(0, len(untold), TOLD_AT_ONCE):
            with ExitStack() as held:
                await self._report(list(lock_free(untold[place : place + TOLD_AT_ONCE], held)))

    def _is_untold(self, account: LeaseAccount) -> bool:
        """Whether PostgreSQL must be told of it. What is idle is taken out of memory; an account without it is left."""
        if account.lock.locked() or account.asked is not None:
            return False
        is_idle = self._is_idle(account)
        if is_idle and account.returning is None and (unspent := self._take_out_unspent(account)):
            account.returning = ReturnedLease(unspent)
        settled, reserved = self.spend.read(account.key, account.month)
        if settled != account.told_settled or account.returning is not None:
            return True
        if is_idle and not reserved:
            self._accounts.pop((account.key, account.month), None)
        return False

    async def _report(self, accounts: Sequence[LeaseAccount]) -> None:
        """Tell what is settled, and return what is on its way back. Raises EngineAway, psycopg.Error."""
        reports = [
            (account, account.returning or ReturnedLease(0), self.spend.read(account.key, account.month)[0])
            for account in accounts
        ]
        if not reports:
            return
        columns = zip(
            *[(one.key, one.month, back.id, settled, back.amount) for one, back, settled in reports], strict=True
        )
        told = await self.pool.fetch(REPORT, self.holder.id, self._worker, *map(list, columns))
        for (account, _, settled), (may_spend,) in zip(reports, told, strict=True):
            account.told_settled, account.returning = settled, None
            self._unmark(account)
            excess = self._granted(account) - may_spend
            if excess > 0:
                # The lease was taken back meanwhile.
                self.granted.add(account.key, account.month, -excess)

    def _is_idle(self, account: LeaseAccount) -> bool:
        """Whether no worker of this node has used the budget for IDLE_S."""
        now, spend = self.term.clock(), self.spend.read(account.key, account.month)
        if spend != account.spend:
            account.spend, account.changed_at = spend, now
        return self._is_closing or now - account.changed_at >= IDLE_S

    def _take_out_unspent(self, account: LeaseAccount) -> int:
        """Take the unspent part of the lease out of memory, safe from other workers. Returns its amount."""
        granted = self._granted(account)
        unspent = granted - sum(self.spend.read(account.key, account.month))
        if unspent <= 0 or self.spend.reserve(account.key, account.month, unspent, granted) is not None:
            return 0
        self._mark(account)
        self.granted.add(account.key, account.month, -unspent)
        self.spend.settle(account.key, account.month, unspent, 0)
        return unspent

    async def _mend(self) -> None:
        while True:
            await trio.sleep(MEND_EVERY_S)
            try:
                if mended := await self.mend():
                    logger.warning("found %d leases of budgets that dead workers did not count", mended)
            except (EngineAway, psycopg.Error, Overloaded) as away:
                logger.debug("leases of dead workers could not be looked for: %s", away)

    async def mend(self) -> int:
        """Count what dead workers of this node have leased, and did not count (rule 2). Returns how many there were."""
        mended = await mend_leases(self.granted, partial(self.pool.fetch, HELD, self.holder.id), IDLE_S)
        for key, month in mended:
            # To go back when it is idle.
            self._account(key, month)
        return len(mended)

    async def aclose(self) -> None:
        """Return what is not spent. The requests have ended."""
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True) as limit:
            self._is_closing = True
            try:
                await self.pool.reach()
                await self.tell()
            except (EngineAway, psycopg.Error, OSError) as away:
                logger.warning("leased budgets were not returned, and come back later: %s", away)
        if limit.cancelled_caught:
            logger.warning("leased budgets were not returned within %g s, and come back later", CLOSE_LIMIT_S)

    # ── small steps ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _account(self, key: bytes, month: int) -> LeaseAccount:
        account = self._accounts.get((key, month))
        if account is None:
            account = self._accounts[key, month] = LeaseAccount(key, month, self.term.clock())
        return account

    def _granted(self, account: LeaseAccount) -> int:
        # As GrantedAmounts.read: every request with a budget comes by.
        return self.spend.read(GRANTED + account.key, account.month)[0]

    def _mark(self, account: LeaseAccount) -> None:
        if not account.is_marked:
            self.granted.mark(account.key, account.month)
            account.is_marked = True

    def _unmark(self, account: LeaseAccount, granted: int = 0) -> None:
        if account.is_marked:
            self.granted.settle(account.key, account.month, granted)
            account.is_marked = False

    async def _ask(self, statement: str, *values: object) -> tuple[int, ...]:
        (row,) = await self.pool.fetch(statement, *values)
        return row
