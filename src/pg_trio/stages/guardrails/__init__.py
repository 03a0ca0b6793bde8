"""The guardrails: one chain for requests, one set of rules for answers. See docs/guardrails.md."""

from pg_trio.stages.guardrails.chain import Chain, compile_chain
from pg_trio.stages.guardrails.output import OutputGuards, compile_output

__all__ = ["Chain", "OutputGuards", "compile_chain", "compile_output"]
