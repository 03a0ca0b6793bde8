"""Each stage's time in one request, and its two text forms.

Every answer and every log row has it. Formatting the numbers is most of the cost, so it is done once, by one operation.
The format depends on the stages only, and there are few different lists of stages.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import compress

from attrs import field

from pg_trio.domain.value import value


@value(slots=True)
class StageTimes:
    """Stages in the order they ran, with their durations in milliseconds."""

    stages: tuple[str, ...]
    durations_ms: tuple[float, ...]
    _json: bytes = field(init=False, eq=False, repr=False)

    @_json.default
    def _format_json(self) -> bytes:
        return _json_format(self.stages) % self.durations_ms

    @property
    def overhead_ms(self) -> float:
        """The time of the gateway's own stages: all but the waiting for a provider, and for a stream's end."""
        return sum(compress(self.durations_ms, works_of(self.stages)))

    def as_server_timing(self) -> bytes:
        """The value of `Server-Timing` (W3C Server Timing): `auth;dur=0.041, read;dur=0.012, overhead;dur=0.053`."""
        overhead = b"overhead;dur=%.3f" % self.overhead_ms
        if not self.stages:
            return overhead
        # `{"auth":0.041,"read":0.012}`: no stage's name has any of these characters.
        stages = self._json[2:-1].replace(b'":', b";dur=").replace(b',"', b", ")
        return b"%b, %b" % (stages, overhead)

    def as_json(self) -> str:
        """A JSON object: `{"auth":0.041,"read":0.012}`."""
        return self._json.decode("ascii")


_WAITING = frozenset({"provider", "repair", "stream"})


# 64: more than the number of ways to fail.
@lru_cache(maxsize=64)
def _json_format(stages: tuple[str, ...]) -> bytes:
    return b"{" + ",".join([f'"{stage}":%.3f' for stage in stages]).encode("ascii") + b"}"


@lru_cache(maxsize=64)
def works_of(stages: tuple[str, ...]) -> tuple[bool, ...]:
    """Of each stage, whether it is the gateway's own: it waits for no provider, and for no stream's end."""
    return tuple([stage not in _WAITING for stage in stages])


NO_TIMES = StageTimes((), ())
