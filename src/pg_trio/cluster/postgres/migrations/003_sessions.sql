-- Sessions, as in a single machine's sessions.db.

CREATE TABLE pgtrio.sessions (
    id uuid PRIMARY KEY,
    endpoint uuid NOT NULL,
    token bigint NOT NULL,
    created_at double precision NOT NULL,
    last_active_at double precision NOT NULL,
    message_count integer NOT NULL DEFAULT 0,
    token_count bigint NOT NULL DEFAULT 0,
    byte_count bigint NOT NULL DEFAULT 0,
    holder text NOT NULL DEFAULT ''  -- of a client token; empty for a stored one
);
CREATE INDEX sessions_by_activity ON pgtrio.sessions (endpoint, last_active_at);

CREATE TABLE pgtrio.messages (
    session uuid NOT NULL REFERENCES pgtrio.sessions ON DELETE CASCADE,
    position integer NOT NULL,
    at double precision NOT NULL,
    body text NOT NULL,  -- JSON, in OpenAI's shape
    PRIMARY KEY (session, position)
);

-- The ids of the newest turns, so that a turn whose answer was lost is not stored twice.
CREATE TABLE pgtrio.stored_turns (
    turn uuid PRIMARY KEY,
    session uuid NOT NULL REFERENCES pgtrio.sessions ON DELETE CASCADE
);
CREATE INDEX stored_turns_by_session ON pgtrio.stored_turns (session);

-- Store a turn, completely or not at all. False: its session was deleted, and nothing is stored. The session's row is
-- locked, so turns of several nodes get consecutive positions.
CREATE FUNCTION pgtrio.append_turn(
    of_turn uuid, of_session uuid, is_first boolean, of_endpoint uuid, of_token bigint, now_at double precision,
    bodies text[], bytes bigint, tokens bigint, of_holder text
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    first_position integer;
BEGIN
    IF is_first THEN
        INSERT INTO pgtrio.sessions (id, endpoint, token, created_at, last_active_at, holder)
            VALUES (of_session, of_endpoint, of_token, now_at, now_at, of_holder) ON CONFLICT (id) DO NOTHING;
    END IF;
    SELECT s.message_count INTO first_position FROM pgtrio.sessions s WHERE s.id = of_session FOR UPDATE;
    IF first_position IS NULL THEN
        RETURN false;
    END IF;
    INSERT INTO pgtrio.stored_turns (turn, session) VALUES (of_turn, of_session) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN true;
    END IF;
    DELETE FROM pgtrio.stored_turns t WHERE t.session = of_session AND t.turn <> of_turn;
    INSERT INTO pgtrio.messages (session, position, at, body)
        SELECT of_session, first_position + b.number - 1, now_at, b.body
        FROM unnest(bodies) WITH ORDINALITY AS b (body, number);
    UPDATE pgtrio.sessions s SET
        last_active_at = greatest(s.last_active_at, now_at),
        message_count = s.message_count + cardinality(bodies),
        token_count = s.token_count + tokens,
        byte_count = s.byte_count + bytes
        WHERE s.id = of_session;
    RETURN true;
END $$;
