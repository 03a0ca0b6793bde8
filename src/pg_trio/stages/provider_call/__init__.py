"""The stage `provider_call`: race the candidates under the request's deadline, for a whole answer or an open stream.

provider_call.py  the candidates and their order; the client's error if no candidate answered
exchange.py       one candidate's try: a whole answer read, or a stream opened up to its first token
call_plan.py      how an endpoint's candidates are asked: decided once for each endpoint
pace.py           when a silent candidate is hedged
vectors.py        one candidate's try at embeddings, in as many calls as it needs
retry.py          which candidates are asked again, and when
memory.py         breakers, estimates and budgets that outlive a request
slot_turns.py     the limit of concurrent calls with one credential, and its queue
runner.py         the race's runner: starts tries, allows hedges, reports faults, writes rows
stream.py         a candidate's stream, up to its first token and then as the client takes it
rescue.py         the source of a streamed answer: one candidate's stream after the other
stream_meter.py   what those streams use
"""

from pg_trio.stages.provider_call.call_plan import CallPlan
from pg_trio.stages.provider_call.memory import Memory
from pg_trio.stages.provider_call.provider_call import ProviderCall
from pg_trio.stages.provider_call.stream import OpenStream
from pg_trio.stages.provider_call.vectors import VectorCall

__all__ = ["CallPlan", "Memory", "OpenStream", "ProviderCall", "VectorCall"]
