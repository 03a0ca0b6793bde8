"""Sources that wrap another one, between the provider call and the relay: domain/event_source.py has the contract.

filtered_source.py  a source whose events pass through a filter: what a guardrail of streams is
answer_record.py    the filter that keeps the answer for the session and the log, and changes nothing

The pipeline puts them around the rescued source in this order: guardrails, so that nothing behind them sees what they
take out; then the record.
"""

from pg_trio.sources.answer_record import AnswerRecord
from pg_trio.sources.filtered_source import EventFilter, FilteredSource
from pg_trio.sources.guarded_source import GuardedSource

__all__ = ["AnswerRecord", "EventFilter", "FilteredSource", "GuardedSource"]
