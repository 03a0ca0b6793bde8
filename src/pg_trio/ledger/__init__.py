"""Limits, spend and leases, from which requests take and to which they give back. The protocols' steps may wait.

protocols.py   the contract: token buckets, a month's spend, leases
immediate.py   an implementation that never waits: over shared memory, or over the books of one process
settling.py    giving back: shielded from cancellation, and bounded in time
"""
