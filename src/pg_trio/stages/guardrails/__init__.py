"""The guardrails: one chain for requests, one set of rules for answers, those of other services for both.

See docs/guardrails.md.
"""

from pg_trio.stages.guardrails.chain import Chain, compile_chain
from pg_trio.stages.guardrails.output import OutputGuards, compile_output
from pg_trio.stages.guardrails.redaction import Redaction
from pg_trio.stages.guardrails.remote.beside import Check, HeldSource, hold_beside
from pg_trio.stages.guardrails.remote.remote_call import RemoteCaller
from pg_trio.stages.guardrails.remote.remote_guards import RemoteGuards, Whose, compile_remote
from pg_trio.stages.guardrails.restoring import RestoringFilter, restore_reply

__all__ = [
    "Chain",
    "Check",
    "HeldSource",
    "OutputGuards",
    "Redaction",
    "RemoteCaller",
    "RemoteGuards",
    "RestoringFilter",
    "Whose",
    "compile_chain",
    "compile_output",
    "compile_remote",
    "hold_beside",
    "restore_reply",
]
