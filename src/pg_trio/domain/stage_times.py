"""What each stage of one request took, and its two texts.

Every answer and every row of the log carries it, so both texts are made by one formatting operation each: the format
depends on the stages alone, and there are few different lists of those.
"""

from __future__ import annotations

from functools import lru_cache

from pg_trio.domain.value import value


@value(slots=True)
class StageTimes:
    """Stages in the order they ran, with their durations in milliseconds."""

    stages: tuple[str, ...]
    durations_ms: tuple[float, ...]

    @property
    def overhead_ms(self) -> float:
        """What the gateway's own stages took: all but the waiting for a provider, and for a stream's end."""
        durations_ms = self.durations_ms
        return sum(durations_ms) - sum([durations_ms[place] for place in _waits(self.stages)])

    def as_server_timing(self) -> bytes:
        """The value of `Server-Timing` (W3C Server Timing): `auth;dur=0.041, read;dur=0.012, overhead;dur=0.053`."""
        return _server_timing_format(self.stages) % (*self.durations_ms, self.overhead_ms)

    def as_json(self) -> str:
        """A JSON object: `{"auth":0.041,"read":0.012}`."""
        return _json_format(self.stages) % self.durations_ms


_WAITING = frozenset({"provider", "stream"})
NO_TIMES = StageTimes((), ())


# 64: as many ways as there are to fail, and some.
@lru_cache(maxsize=64)
def _server_timing_format(stages: tuple[str, ...]) -> bytes:
    return ", ".join([f"{stage};dur=%.3f" for stage in (*stages, "overhead")]).encode("ascii")


@lru_cache(maxsize=64)
def _waits(stages: tuple[str, ...]) -> tuple[int, ...]:
    return tuple([place for place, stage in enumerate(stages) if stage in _WAITING])


@lru_cache(maxsize=64)
def _json_format(stages: tuple[str, ...]) -> str:
    return "{" + ",".join([f'"{stage}":%.3f' for stage in stages]) + "}"
