"""Takes back what holders that are silent have leased of budgets and did not spend (rules: lease_term.py)."""

from __future__ import annotations

import logging

import psycopg
import trio
from attrs import frozen

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.postgres.lease_term import LeaseTerm
from pg_trio.cluster.postgres.postgres_pool import PostgresPool

logger = logging.getLogger("pg_trio.cluster")

REAP_EVERY_S = 10.0
REAP = "SELECT pgtrio.reap_budgets(make_interval(secs => %s), %s::text[])"
FORGET = "SELECT pgtrio.forget_client_budgets()"


@frozen(slots=True, eq=False)
class SilentHolders:
    """See lease_term.py. `run` looks for them, and forgets old budgets of client tokens."""

    pool: PostgresPool
    term: LeaseTerm

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await trio.sleep(REAP_EVERY_S)
            try:
                count = await self.reap()
                await self.pool.fetch(FORGET)
            except (EngineAway, psycopg.Error) as away:
                logger.debug("leases of silent nodes could not be taken back: %s", away)
            else:
                if count:
                    logger.warning("took back what %d silent nodes had leased of budgets", count)

    async def reap(self) -> int:
        """Take back what may be taken back. Returns the number of holders. Raises EngineAway, psycopg.Error."""
        spared = self.term.find_spared()
        if spared is None:
            return 0
        ((count,),) = await self.pool.fetch(REAP, self.term.silent_s, list(spared))
        return int(count)
