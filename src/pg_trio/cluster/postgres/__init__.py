"""PostgreSQL (14 or later): what must be true.

trio_connection.py  psycopg on Trio: the waits of its generators are Trio's
postgres_pool.py    a worker's connections: bounded, replaced after a cancellation, tried again while the server is away
names.py            hosts looked up without blocking
schema.py           the tables, in numbered steps (`migrations/`)
postgres_tokens.py, postgres_token_admin.py, token_rows.py  tokens and the keys of client tokens, for workers; commands
postgres_operators.py, postgres_operator_admin.py, operator_rows.py  operators, overrides, the audit
command_connection.py  a command's connection
changes.py, token_changes.py  what others have changed: NOTIFY, with a poll as fallback; which tokens
postgres_sessions.py  sessions
log_forwarding.py   the log: from each node's own file to here, each row once
log_plans.py, log_sum_plans.py, log_choices.py  how the log is read: statements, without I/O
postgres_log_view.py, postgres_log_reader.py  the log for the pages of a worker; for commands
lost_budgets.py     budgets from the log, if their tables were lost
leased_spend.py, lease_account.py, granted_amounts.py  budgets: leased from the ledger here, spent in shared memory
lease_term.py, silent_holders.py  until when a node may spend them, and when others take them back
spend_reading.py    what all nodes have spent, to be shown
"""
