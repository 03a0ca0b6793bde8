"""Each stage's time in one request, and its two text forms.

Every answer and every log row has it. Formatting the numbers is most of the cost, so it is done once, by one operation.
The format depends on the stages only, and there are few different lists of stages.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import compress

from attrs import define, field


@define(slots=True, unsafe_hash=True, init=False)
class StageTimes:
    """Stages in the order they ran, with their durations in milliseconds.

    `overhead_ms` is the time of the gateway's own stages: all but the waiting for a provider, and for a stream's end.
    """

    stages: tuple[str, ...]
    durations_ms: tuple[float, ...]
    overhead_ms: float = field(eq=False, repr=False)
    _text: bytes = field(eq=False, repr=False)

    def __init__(self, stages: tuple[str, ...], durations_ms: tuple[float, ...]) -> None:
        text_format, works = _form_of(stages)
        self.stages, self.durations_ms = stages, durations_ms
        self.overhead_ms = overhead_ms = sum(compress(durations_ms, works))
        self._text = text_format % (*durations_ms, overhead_ms)

    def as_server_timing(self) -> bytes:
        """The value of `Server-Timing` (W3C Server Timing): `auth;dur=0.041, read;dur=0.012, overhead;dur=0.053`."""
        return self._text

    def as_json(self) -> str:
        """A JSON object, without the overhead: `{"auth":0.041,"read":0.012}`. Made where a row is written."""
        stages, _, _ = self._text.decode("ascii").rpartition("overhead")
        # No stage's name has any of these characters.
        quoted = stages.removesuffix(", ").replace(";dur=", '":').replace(", ", ',"')
        return '{"' + quoted + "}" if quoted else "{}"


_WAITING = frozenset({"provider", "repair", "stream"})


# 64: more than the number of ways to fail.
@lru_cache(maxsize=64)
def _form_of(stages: tuple[str, ...]) -> tuple[bytes, tuple[bool, ...]]:
    """The format of the stages' text, and of each whether it is the gateway's own: it waits for no provider, and for no
    stream's end."""
    texts = [b"%b;dur=%%.3f" % stage.encode("ascii") for stage in (*stages, "overhead")]
    return b", ".join(texts), tuple([stage not in _WAITING for stage in stages])


NO_TIMES = StageTimes((), ())
