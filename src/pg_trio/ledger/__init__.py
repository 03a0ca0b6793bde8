"""What requests take and give back (limits, spend, leases), and what a race knows of providers, behind protocols.

protocols.py    the contract of what is taken and given back; its steps may wait
node_health.py  the contract of what a race knows and rations; its steps never wait
immediate.py    an implementation of the first that never waits: over shared memory, or over one process's books
settling.py     giving back: shielded from cancellation, and bounded in time
"""
