"""The stage `guardrails`. `compile_chain(rules).apply(request)` is all that others need."""

from pg_trio.stages.guardrails.chain import Chain, compile_chain

__all__ = ["Chain", "compile_chain"]
