"""The guardrails of answers: whole ones and streams.

text_rules.py      a rule for text, compiled; what all rules of an endpoint find in one text
holds.py           where a stream must wait, because what follows could complete a match or change it
text_window.py     one text of a stream: what is decided passes, masked; the rest waits
arguments.py       the same for a call's arguments, inside the strings of their JSON
answer_filter.py   the filter of a stream's events
whole_answer.py    the same checks of an answer that is complete
prompt_leak.py     finds the endpoint's own prompt in a text
output_guards.py   what an endpoint's plan has of all this
"""

from pg_trio.stages.guardrails.output.output_guards import OutputGuards, compile_output

__all__ = ["OutputGuards", "compile_output"]
