-- Budgets: money is billionths of a US dollar. What a node has leased counts as spent until it is returned.

CREATE TABLE pgtrio.holders (
    holder uuid PRIMARY KEY,
    node text NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE pgtrio.budgets (
    endpoint bytea NOT NULL CHECK (length(endpoint) IN (16, 17)),  -- 17: a holder of client tokens
    month integer NOT NULL,  -- year * 12 + month - 1
    leased bigint NOT NULL DEFAULT 0 CHECK (leased >= 0),  -- the sum of `granted` over all holders
    PRIMARY KEY (endpoint, month)
);
CREATE INDEX budgets_of_client_tokens ON pgtrio.budgets (month) WHERE length(endpoint) = 17;

CREATE TABLE pgtrio.budget_leases (
    endpoint bytea NOT NULL,
    month integer NOT NULL,
    holder uuid NOT NULL,
    granted bigint NOT NULL CHECK (granted >= 0),
    settled bigint NOT NULL DEFAULT 0,  -- as the holder has told it
    PRIMARY KEY (endpoint, month, holder)
);
CREATE INDEX budget_leases_unspent ON pgtrio.budget_leases (holder) WHERE granted > settled;

-- The newest lease of each worker. One whose answer was lost is asked for again with its id, and is not granted twice.
CREATE TABLE pgtrio.budget_lease_ids (
    endpoint bytea NOT NULL,
    month integer NOT NULL,
    worker uuid NOT NULL,
    lease uuid NOT NULL,
    lent bigint NOT NULL,
    PRIMARY KEY (endpoint, month, worker)
);

-- Lease what is short, or a hundredth of what is left, whichever is more. `lent` is 0 if what is short does not fit.
-- `others_settled`, `others_leased`: of all other holders.
CREATE FUNCTION pgtrio.lease_budget(
    of_endpoint bytea, of_month integer, of_holder uuid, of_worker uuid, of_lease uuid, short bigint, budget bigint,
    OUT lent bigint, OUT others_settled bigint, OUT others_leased bigint
) LANGUAGE plpgsql AS $$
DECLARE
    leased bigint;
BEGIN
    INSERT INTO pgtrio.budgets (endpoint, month) VALUES (of_endpoint, of_month) ON CONFLICT DO NOTHING;
    SELECT b.leased INTO leased FROM pgtrio.budgets b
        WHERE b.endpoint = of_endpoint AND b.month = of_month FOR UPDATE;
    SELECT i.lent INTO lent FROM pgtrio.budget_lease_ids i
        WHERE i.endpoint = of_endpoint AND i.month = of_month AND i.worker = of_worker AND i.lease = of_lease;
    IF lent IS NULL THEN
        lent := 0;
        IF leased <= budget AND short <= budget - leased THEN
            lent := greatest(short, (budget - leased) / 100);
        END IF;
    ELSE
        leased := NULL;
    END IF;
    IF lent > 0 AND leased IS NOT NULL THEN
        UPDATE pgtrio.budgets b SET leased = b.leased + lent
            WHERE b.endpoint = of_endpoint AND b.month = of_month;
        INSERT INTO pgtrio.budget_lease_ids AS i (endpoint, month, worker, lease, lent)
            VALUES (of_endpoint, of_month, of_worker, of_lease, lease_budget.lent)
            ON CONFLICT (endpoint, month, worker) DO UPDATE SET lease = excluded.lease, lent = excluded.lent;
        INSERT INTO pgtrio.budget_leases AS l (endpoint, month, holder, granted)
            VALUES (of_endpoint, of_month, of_holder, lent)
            ON CONFLICT (endpoint, month, holder) DO UPDATE SET granted = l.granted + excluded.granted;
    END IF;
    SELECT coalesce(sum(l.settled), 0), coalesce(sum(l.granted), 0) INTO others_settled, others_leased
        FROM pgtrio.budget_leases l
        WHERE l.endpoint = of_endpoint AND l.month = of_month AND l.holder <> of_holder;
END $$;

-- Tell what a holder has settled, and return what it no longer needs; a return has an id, as a lease has. The result is
-- what the holder may still spend in all: less than it believes if its lease was taken back meanwhile.
CREATE FUNCTION pgtrio.report_budget(
    of_endpoint bytea, of_month integer, of_holder uuid, of_worker uuid, of_return uuid, now_settled bigint,
    returned bigint
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    before bigint;
    after bigint;
BEGIN
    PERFORM FROM pgtrio.budgets b WHERE b.endpoint = of_endpoint AND b.month = of_month FOR UPDATE;
    SELECT l.granted INTO before FROM pgtrio.budget_leases l
        WHERE l.endpoint = of_endpoint AND l.month = of_month AND l.holder = of_holder;
    IF before IS NULL THEN
        RETURN 0;
    END IF;
    IF returned > 0 THEN
        IF EXISTS (
            SELECT FROM pgtrio.budget_lease_ids i
            WHERE i.endpoint = of_endpoint AND i.month = of_month AND i.worker = of_worker AND i.lease = of_return
        ) THEN
            returned := 0;
        ELSE
            INSERT INTO pgtrio.budget_lease_ids AS i (endpoint, month, worker, lease, lent)
                VALUES (of_endpoint, of_month, of_worker, of_return, -returned)
                ON CONFLICT (endpoint, month, worker) DO UPDATE SET lease = excluded.lease, lent = excluded.lent;
        END IF;
    END IF;
    -- More than it holds: it was settled before the lease was taken back, and is spent.
    after := greatest(before - returned, now_settled);
    UPDATE pgtrio.budget_leases l SET granted = after, settled = greatest(l.settled, now_settled)
        WHERE l.endpoint = of_endpoint AND l.month = of_month AND l.holder = of_holder;
    UPDATE pgtrio.budgets b SET leased = b.leased + after - before
        WHERE b.endpoint = of_endpoint AND b.month = of_month;
    RETURN after;
END $$;

-- Take back what holders that have not been seen for so long did not spend. Returns their number.
CREATE FUNCTION pgtrio.reap_budgets(silent_for interval) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    dead uuid[];
    lease record;
BEGIN
    SELECT coalesce(array_agg(h.holder), '{}') INTO dead FROM pgtrio.holders h
        WHERE h.seen_at < now() - silent_for
        AND EXISTS (SELECT FROM pgtrio.budget_leases l WHERE l.holder = h.holder AND l.granted > l.settled);
    FOR lease IN
        SELECT l.endpoint, l.month, l.holder FROM pgtrio.budget_leases l
        WHERE l.holder = ANY (dead) AND l.granted > l.settled ORDER BY l.endpoint, l.month, l.holder
    LOOP
        PERFORM FROM pgtrio.budgets b WHERE b.endpoint = lease.endpoint AND b.month = lease.month FOR UPDATE;
        WITH unspent AS (
            SELECT l.granted - l.settled AS amount FROM pgtrio.budget_leases l
            WHERE l.endpoint = lease.endpoint AND l.month = lease.month AND l.holder = lease.holder
        )
        UPDATE pgtrio.budgets b SET leased = b.leased - unspent.amount FROM unspent
            WHERE b.endpoint = lease.endpoint AND b.month = lease.month;
        UPDATE pgtrio.budget_leases l SET granted = l.settled
            WHERE l.endpoint = lease.endpoint AND l.month = lease.month AND l.holder = lease.holder;
    END LOOP;
    RETURN cardinality(dead);
END $$;

-- Forget the budgets of client tokens, of which there may be many, once no clock is in their month any more: those of
-- the month before last and earlier, some at a time. Returns their number.
CREATE FUNCTION pgtrio.forget_client_budgets() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    this_month integer := extract(year FROM now()) * 12 + extract(month FROM now()) - 1;
    forgotten integer;
BEGIN
    WITH old AS (
        SELECT b.endpoint, b.month FROM pgtrio.budgets b
        WHERE length(b.endpoint) = 17 AND b.month < this_month - 1 LIMIT 1000 FOR UPDATE SKIP LOCKED
    ), leases AS (
        DELETE FROM pgtrio.budget_leases l USING old WHERE l.endpoint = old.endpoint AND l.month = old.month
    ), ids AS (
        DELETE FROM pgtrio.budget_lease_ids i USING old WHERE i.endpoint = old.endpoint AND i.month = old.month
    )
    DELETE FROM pgtrio.budgets b USING old WHERE b.endpoint = old.endpoint AND b.month = old.month;
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    RETURN forgotten;
END $$;
