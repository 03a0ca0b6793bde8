-- Changes of tokens by name, so that a worker forgets those that have changed, and no others.

-- The newest changes. A revision without rows changed no token: a key that signs client tokens, or nothing. A row without
-- a token stands for all of them.
CREATE TABLE pgtrio.token_changes (
    revision bigint NOT NULL,
    token bigint,
    digest bytea
);
CREATE INDEX token_changes_by_revision ON pgtrio.token_changes (revision);

-- Count a change that begins. Its revision's row stays locked until the commit, so revisions are in the order of commits,
-- and a reader who knows one misses none before it. The changes of the last 1,000 revisions are kept.
CREATE FUNCTION pgtrio.begin_token_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    now_revision bigint;
BEGIN
    INSERT INTO pgtrio.revisions AS r (name, revision) VALUES ('tokens', 1)
        ON CONFLICT (name) DO UPDATE SET revision = r.revision + 1 RETURNING r.revision INTO now_revision;
    DELETE FROM pgtrio.token_changes c WHERE c.revision <= now_revision - 1000;
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO pgtrio.token_changes (revision) VALUES (now_revision);
    END IF;
    RETURN NULL;
END $$;

-- Name a token that has changed: as it was, and as it is.
CREATE FUNCTION pgtrio.name_token_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO pgtrio.token_changes (revision, token, digest)
            SELECT r.revision, OLD.id, OLD.digest FROM pgtrio.revisions r WHERE r.name = 'tokens';
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO pgtrio.token_changes (revision, token, digest)
            SELECT r.revision, NEW.id, NEW.digest FROM pgtrio.revisions r WHERE r.name = 'tokens';
    END IF;
    RETURN NULL;
END $$;

-- Tell it. `tokens` alone says that there is a change, which the release before this one also understands; `tokens 12 15`
-- names the tokens, up to 100 of them.
CREATE FUNCTION pgtrio.tell_token_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    named text;
BEGIN
    PERFORM pg_notify('pgtrio', 'tokens');
    SELECT string_agg(n.token::text, ' ') INTO named FROM (
        SELECT DISTINCT c.token FROM pgtrio.token_changes c JOIN pgtrio.revisions r USING (revision)
        WHERE r.name = 'tokens' LIMIT 101
    ) n HAVING count(*) <= 100;
    IF named IS NOT NULL THEN
        PERFORM pg_notify('pgtrio', 'tokens ' || named);
    END IF;
    RETURN NULL;
END $$;

DROP TRIGGER tokens_changed ON pgtrio.tokens;
CREATE TRIGGER token_change_begins BEFORE INSERT OR DELETE OR TRUNCATE OR UPDATE OF
    id, project_uuid, name, prefix, digest, env, scopes, is_active, created_at,
    rate_limit_per_minute, tokens_per_minute, max_concurrent
    ON pgtrio.tokens FOR EACH STATEMENT EXECUTE FUNCTION pgtrio.begin_token_change();
CREATE TRIGGER token_change_named AFTER INSERT OR DELETE OR UPDATE OF
    id, project_uuid, name, prefix, digest, env, scopes, is_active, created_at,
    rate_limit_per_minute, tokens_per_minute, max_concurrent
    ON pgtrio.tokens FOR EACH ROW EXECUTE FUNCTION pgtrio.name_token_change();
CREATE TRIGGER token_change_told AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE OF
    id, project_uuid, name, prefix, digest, env, scopes, is_active, created_at,
    rate_limit_per_minute, tokens_per_minute, max_concurrent
    ON pgtrio.tokens FOR EACH STATEMENT EXECUTE FUNCTION pgtrio.tell_token_change();

-- Leases of budgets that are taken back from silent holders, but not from nodes that live.

ALTER TABLE pgtrio.holders
    ADD COLUMN place text,  -- the node's id, a slash, the name of its file: of several holders of a place the newest spends
    ADD COLUMN made_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN losses bigint NOT NULL DEFAULT 0;  -- how often its leases were taken back
ALTER TABLE pgtrio.budget_leases ADD COLUMN taken bigint NOT NULL DEFAULT 0;  -- and its holder has not subtracted yet

-- Take back what holders that have been silent for so long did not spend, but for the present holders of the nodes with
-- these ids. Returns the number of holders. A holder's row is locked, so it learns of it with its next sign of life.
CREATE FUNCTION pgtrio.reap_budgets(silent_for interval, living text[]) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    dead uuid[];
    lease record;
    unspent bigint;
BEGIN
    WITH reaped AS (
        UPDATE pgtrio.holders h SET losses = h.losses + 1
        WHERE h.seen_at < now() - silent_for
        AND EXISTS (SELECT FROM pgtrio.budget_leases l WHERE l.holder = h.holder AND l.granted > l.settled)
        AND NOT (
            coalesce(split_part(h.place, '/', 1) = ANY (living), false)
            AND NOT EXISTS (SELECT FROM pgtrio.holders n WHERE n.place = h.place AND n.made_at > h.made_at)
        )
        RETURNING h.holder
    )
    SELECT coalesce(array_agg(r.holder), '{}') INTO dead FROM reaped r;
    FOR lease IN
        SELECT l.endpoint, l.month, l.holder FROM pgtrio.budget_leases l
        WHERE l.holder = ANY (dead) AND l.granted > l.settled ORDER BY l.endpoint, l.month, l.holder
    LOOP
        PERFORM FROM pgtrio.budgets b WHERE b.endpoint = lease.endpoint AND b.month = lease.month FOR UPDATE;
        SELECT l.granted - l.settled INTO unspent FROM pgtrio.budget_leases l
            WHERE l.endpoint = lease.endpoint AND l.month = lease.month AND l.holder = lease.holder;
        UPDATE pgtrio.budgets b SET leased = b.leased - unspent
            WHERE b.endpoint = lease.endpoint AND b.month = lease.month;
        UPDATE pgtrio.budget_leases l SET granted = l.settled, taken = l.taken + unspent
            WHERE l.endpoint = lease.endpoint AND l.month = lease.month AND l.holder = lease.holder;
    END LOOP;
    RETURN cardinality(dead);
END $$;

-- The release before this one does not know which nodes live: it takes nothing back from those of this one.
CREATE OR REPLACE FUNCTION pgtrio.reap_budgets(silent_for interval) RETURNS integer LANGUAGE sql AS $$
    SELECT pgtrio.reap_budgets(silent_for, ARRAY(SELECT split_part(h.place, '/', 1) FROM pgtrio.holders h))
$$;
