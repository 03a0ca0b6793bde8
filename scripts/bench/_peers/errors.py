"""What can be wrong with a comparison, told to the person who runs it."""

from __future__ import annotations


class BenchError(Exception):
    """Nothing can be measured: a tool is missing, there is one core only, the upstream does not start."""


class PeerUnavailableError(Exception):
    """One peer cannot be installed, started or called; it is left out and the others are measured."""
