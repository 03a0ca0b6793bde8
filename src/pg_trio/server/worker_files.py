"""What a worker gets from its supervisor, and what the supervisor knows of its process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen

# What a worker says by its control socket once it can serve.
READY = b"ready"
# The messages to a worker, one byte each: accept connections; the whole gateway is about to stop.
GO = b"g"
LEAVING = b"l"


@frozen(slots=True)
class WorkerFiles:
    """Open descriptors for one worker, and its place among the workers, from 0 on.

    `sockets` and `admin_sockets` listen, `control` is its end of a socket to the supervisor, `text` a file with the
    configuration's text.
    """

    sockets: Sequence[int]
    control: int
    text: int
    seat: int
    admin_sockets: Sequence[int] = ()

    @property
    def descriptors(self) -> list[int]:
        """All of them, in an order that `of_descriptors` knows."""
        return [self.control, self.text, *self.sockets, *self.admin_sockets]

    @classmethod
    def of_descriptors(cls, descriptors: Sequence[int], sockets: int, seat: int) -> WorkerFiles:
        """The same with the descriptors' numbers in another process; `sockets` counts the public ones."""
        control, text, *rest = descriptors
        return cls(rest[:sockets], control, text, seat, rest[sockets:])

    def as_options(self) -> list[str]:
        """As options of `pg-trio worker`."""
        options = {"--sockets": self.sockets, "--control": [self.control], "--text": [self.text], "--seat": [self.seat]}
        if self.admin_sockets:
            options["--admin-sockets"] = self.admin_sockets
        return [part for name, values in options.items() for part in (name, ",".join(map(str, values)))]


class WorkerProcess(Protocol):
    """A worker's process: trio.Process, or one that a fork server forked."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""

    async def wait(self) -> int:
        """Wait for its end."""

    def terminate(self) -> None: ...

    def kill(self) -> None: ...
