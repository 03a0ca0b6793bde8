"""The guardrails: one chain for requests, one set of rules for answers. See docs/guardrails.md."""

from pg_trio.stages.guardrails.chain import Chain, compile_chain
from pg_trio.stages.guardrails.output import OutputGuards, compile_output
from pg_trio.stages.guardrails.redaction import Redaction
from pg_trio.stages.guardrails.restoring import RestoringFilter, restore_reply

__all__ = ["Chain", "OutputGuards", "Redaction", "RestoringFilter", "compile_chain", "compile_output", "restore_reply"]
