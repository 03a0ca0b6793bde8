"""What requests take from and give back: limits, spend, leases, behind protocols whose steps may wait.

protocols.py   the contract: token buckets, a month's spend, leases
immediate.py   an implementation that never waits, as the contract: shared memory, and the books of one process
settling.py    giving back: shielded from cancellation, and bounded
"""
