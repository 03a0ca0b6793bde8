"""The stage `guardrails`: `compile_chain` for the local rules, `compile_remote` for those of other services."""

from pg_trio.stages.guardrails.chain import Chain, compile_chain
from pg_trio.stages.guardrails.remote.beside import Check, HeldSource, hold_beside
from pg_trio.stages.guardrails.remote.remote_call import RemoteCaller
from pg_trio.stages.guardrails.remote.remote_guards import RemoteGuards, Whose, compile_remote

__all__ = [
    "Chain",
    "Check",
    "HeldSource",
    "RemoteCaller",
    "RemoteGuards",
    "Whose",
    "compile_chain",
    "compile_remote",
    "hold_beside",
]
