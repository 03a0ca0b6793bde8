"""What a call to an engine raises when the engine cannot be asked."""

from __future__ import annotations


class EngineAway(Exception):
    """Redis or PostgreSQL did not answer: it refuses, it is stopped, or the network between is cut.

    Whether a command that was sent has been carried out is not known. The text says which engine, and why.
    """
