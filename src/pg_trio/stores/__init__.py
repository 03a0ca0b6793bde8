"""The only entry to stored data. Only this package chooses the storage engines.

store_protocols.py what a gateway needs of each store, opening and closing included
opening.py         `open_stores(settings, lifetime)`: the engines chosen, opened in order
embedded.py        the engines of one machine: SQLite and shared memory
holder_file.py     what one machine counts by the holders of client tokens
clustered.py       the engines of many machines: Redis and PostgreSQL
cluster_holders.py what they count by the holders of client tokens
cluster_answers.py kept answers: in files of their node, and in Redis for the others
month_start.py     the initial spend of a new ledger, from the log
administration.py  the operations of the commands: tokens, log, backup, check, migrate
cluster_administration.py  the same on a cluster
client_tokens.py, client_token_text.py, playground_tokens.py  tokens that no store has
late_answers.py    a store of answers that is opened when it is first needed

To add an engine, add a file beside embedded.py and a line in opening.py.
"""
