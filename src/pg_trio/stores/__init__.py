"""The only entry to stored data. Only this package chooses the storage engines.

store_protocols.py what a gateway needs of each store, opening and closing included
opening.py         `open_stores(settings, lifetime)`: the engines chosen, opened in order
embedded.py        the engines of one machine: SQLite and shared memory
clustered.py       the engines of many machines: Redis and PostgreSQL
month_start.py     the initial spend of a new ledger, from the log
administration.py  the operations of the commands: tokens, log, backup, check, migrate

To add an engine, add a file beside embedded.py and a line in opening.py.
"""
