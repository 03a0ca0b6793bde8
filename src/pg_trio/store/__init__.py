"""What is kept in files: tokens, sessions and the log. The only room that imports sqlite3.

tokens.TokenStore       what workers ask: who is this token? Answers from memory, follows revocations by itself.
token_admin.TokenAdmin  what the command line does: create, list, rotate, revoke. Synchronous.
sessions.SessionStore   conversations: read before a call, a whole turn on disk after it.
log.LogStore            one row a request: `record` never waits, one writer saves batches.
log_retention           what is too old, or too much, leaves the log.
log_reader.LogReader    what `pg-trio logs` does: the last rows, and those to come. Synchronous, read-only.
databases, backup       every database of a data directory; a copy of them, made while they are written.
health                  what `pg-trio doctor` looks at.
database, migrations    one connection, used by one thread at a time; the schema in numbered steps.
"""
