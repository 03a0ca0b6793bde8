"""The one door to everything that is kept: which engine keeps it is chosen here, and nowhere else.

protocols.py       what a gateway needs of each store, opening and closing included
opening.py         `open_stores(settings, lifetime)`: the engines chosen, opened in order
embedded.py        the engines of one machine: SQLite and shared memory
month_start.py     what a new ledger begins with: the spend that the log knows of
administration.py  what the commands do: tokens, log, backup, check, migrate

Another engine is one file beside embedded.py, and a line in opening.py.
"""
