"""Accepting without room: quiet, patient, and over as soon as there is room again. Virtual time, no sockets."""

from __future__ import annotations

import errno
import logging
import math
import resource
from typing import Any

import pytest
import trio
import trio.testing
from attrs import define

from pg_trio.config.settings import ServerSettings
from pg_trio.server.http1.accepting import accept_connections
from pg_trio.server.http1.open_connections import OpenConnections, connection_limit


class ShortOfFiles(trio.abc.Listener[Any]):
    """A listener whose first `failures` accepts find no file descriptor; it gives names in place of streams."""

    def __init__(self, failures: int, names: list[str]) -> None:
        self.failures = failures
        self.socket = None  # waited for only at the limit
        self._names = names
        self.closed = False

    async def accept(self) -> Any:
        await trio.lowlevel.checkpoint()
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        if not self._names:
            await trio.sleep_forever()
        return self._names.pop(0)

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


@define(slots=True, eq=False)
class Waiting:
    """A connection that waits for a request, until told that there are too many."""

    deadline: float
    waits: bool = True
    closed: bool = False

    def note_crowded(self) -> None:
        self.closed = True

    def note_timeout(self) -> None: ...

    def note_draining(self) -> None: ...

    def note_cut(self) -> None: ...


async def test_outage_is_one_line(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Three seconds without a file descriptor: one line, no traceback, and then the client is served."""
    served = trio.Event()
    listener = ShortOfFiles(30, ["late"])

    async def serve(name: str) -> None:
        served.set()

    nursery.start_soon(accept_connections, listener, OpenConnections(ServerSettings()), serve, nursery)
    await served.wait()
    nursery.cancel_scope.cancel()

    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (1, None) == (len(lines), lines[0].exc_info)
    assert "Too many open files" in lines[0].getMessage()
    assert 3.0 == pytest.approx(trio.current_time())


async def test_other_errors_are_bugs() -> None:
    class Broken(ShortOfFiles):
        async def accept(self) -> Any:
            raise OSError(errno.EINVAL, "not a listener")

    listener = Broken(0, [])

    with pytest.RaisesGroup(OSError):
        async with trio.open_nursery() as nursery:
            await accept_connections(listener, OpenConnections(ServerSettings()), trio.sleep_until, nursery)

    assert listener.closed


async def test_longest_waiting_is_closed_first(autojump_clock: trio.testing.MockClock) -> None:
    connections = OpenConnections(ServerSettings(max_connections=10))
    busy = Waiting(math.inf, waits=False)
    longest, shorter = Waiting(10.0), Waiting(20.0)
    for connection in (shorter, busy, longest):
        connections.add(connection)

    await connections.make_room("full")

    assert (True, False, False) == (longest.closed, shorter.closed, busy.closed)


@pytest.mark.parametrize(
    ("files", "limit"), [(1024, 512), (20_000, 10_000), (1_000_000, 10_000), (resource.RLIM_INFINITY, 10_000), (1, 1)]
)
def test_half_of_files_are_for_clients(files: int, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pg_trio.server.http1.open_connections.resource.getrlimit", lambda _: (files, files))

    assert limit == connection_limit(10_000)
