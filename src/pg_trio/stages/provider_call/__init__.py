"""The stage `provider_call`: race the candidates under the request's deadline, for a whole answer or an open stream.

provider_call.py  the candidates and their order; the client's error if no candidate answered
exchange.py       one candidate's try: a whole answer read, or a stream opened up to its first token
call_plan.py      how an endpoint's candidates are asked: decided once for each endpoint
pace.py           when a silent candidate is hedged
retry.py          who is asked again, and when
memory.py         what is known and rationed beyond one request
slot_turns.py     how many calls at once with one credential, and who waits
runner.py         what the race needs to know of a try: its limits, its hedges, its faults, its row
stream.py         a candidate's stream, up to its first token and then as the client takes it
rescue.py         the source of a streamed answer: one candidate's stream after the other
stream_meter.py   what those streams use
"""

from pg_trio.stages.provider_call.call_plan import CallPlan
from pg_trio.stages.provider_call.memory import Memory
from pg_trio.stages.provider_call.provider_call import ProviderCall
from pg_trio.stages.provider_call.stream import OpenStream

__all__ = ["CallPlan", "Memory", "OpenStream", "ProviderCall"]
