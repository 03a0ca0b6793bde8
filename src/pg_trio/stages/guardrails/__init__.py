"""The stage `guardrails`. Other rooms need only `compile_chain(rules).apply(request)`."""

from pg_trio.stages.guardrails.chain import Chain, compile_chain

__all__ = ["Chain", "compile_chain"]
