"""Files: tokens, sessions and the log. The only room that imports sqlite3.

                        tokens.TokenStore       the workers' look-up of tokens: answers from memory, and follows
                                                revocations by itself. token_admin.TokenAdmin  the command line's
                                                operations: create, list, rotate, revoke. Synchronous.
sessions.SessionStore   conversations: read before a call, a whole turn on disk after it.
log.LogStore            one row a request: `record` never waits, one writer saves batches. log_retention
                        deletes rows of the log that are too old or too many.
                        log_reader.LogReader    the reader for `pg-trio logs`: the last rows, and new ones. Synchronous,
                                                read-only. databases, backup       every database of a data directory; a
                                                copy of them, made while they are written. health                  the
                                                checks of `pg-trio doctor`. database, migrations    one connection, used
                                                by one thread at a time; the schema in numbered steps.
"""
