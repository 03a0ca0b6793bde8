-- The log of all nodes, in partitions of a day: an old day is dropped, not deleted. Bodies are apart. Columns as in a
-- single machine's log.db.

-- Numbers batches of rows. Numbers without a row are batches that were taken back, or are on their way.
CREATE SEQUENCE pgtrio.log_batches;

CREATE TABLE pgtrio.gateway_logs (
    id bigint NOT NULL,  -- the order of arrival: the batch's number * 1024 + the row's place in it
    request_id uuid NOT NULL,
    at double precision NOT NULL,
    node text NOT NULL,
    status integer NOT NULL,
    latency_ms double precision NOT NULL,
    project_uuid uuid,
    endpoint_uuid uuid,
    endpoint_slug text,
    token_id bigint,
    provider text,
    model text,
    error_code text,
    error text,
    prompt_tokens bigint,
    completion_tokens bigint,
    cost_nano_usd bigint,
    stages_ms text NOT NULL,
    attempts text NOT NULL,
    client_request_id text,
    client_address text,
    cached_tokens bigint,
    cache_write_tokens bigint,
    reasoning_tokens bigint,
    price text,
    surface text,
    outcome text,
    deadline_ms bigint,
    first_token_ms double precision,
    hedge_won integer,
    subject text,
    client_token text,
    guardrails text,
    PRIMARY KEY (at, request_id)
) PARTITION BY RANGE (at);
CREATE INDEX gateway_logs_by_arrival ON pgtrio.gateway_logs (id);
CREATE INDEX gateway_logs_by_request ON pgtrio.gateway_logs (request_id);
CREATE INDEX gateway_logs_by_project ON pgtrio.gateway_logs (project_uuid, at);
-- Rows of client tokens alone, as few gateways mint them.
CREATE INDEX gateway_logs_by_holder ON pgtrio.gateway_logs (subject, at) WHERE client_token IS NOT NULL;

CREATE TABLE pgtrio.gateway_log_bodies (
    request_id uuid NOT NULL,
    at double precision NOT NULL,
    request_body text,
    response_body text,
    PRIMARY KEY (at, request_id)
) PARTITION BY RANGE (at);

-- How far each node's spool has come: the id and the request of its last row here.
CREATE TABLE pgtrio.log_spools (
    node_id text PRIMARY KEY,
    last_id bigint NOT NULL,
    last_request uuid NOT NULL
);

-- Make the partitions of a day (days since 1970) that are missing.
CREATE FUNCTION pgtrio.make_log_day(day integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['gateway_logs', 'gateway_log_bodies'] LOOP
        IF to_regclass(format('pgtrio.%I', parent || '_' || day)) IS NULL THEN
            PERFORM pg_advisory_xact_lock(hashtext('pgtrio.make_log_day'));
            EXECUTE format(
                'CREATE TABLE IF NOT EXISTS pgtrio.%I PARTITION OF pgtrio.%I FOR VALUES FROM (%s) TO (%s)',
                parent || '_' || day, parent, day * 86400.0, (day + 1) * 86400.0
            );
        END IF;
    END LOOP;
END $$;

-- Drop the partitions of all days before one. Returns their number.
CREATE FUNCTION pgtrio.drop_log_days(before_day integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    old record;
    dropped integer := 0;
BEGIN
    FOR old IN
        SELECT c.relname FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        JOIN pg_class p ON p.oid = i.inhparent
        JOIN pg_namespace n ON n.oid = p.relnamespace
        WHERE n.nspname = 'pgtrio' AND p.relname IN ('gateway_logs', 'gateway_log_bodies')
        AND substring(c.relname FROM '[0-9]+$')::integer < before_day
    LOOP
        EXECUTE format('DROP TABLE IF EXISTS pgtrio.%I', old.relname);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
