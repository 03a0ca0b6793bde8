"""The parent of all workers: one process each, on the same listening sockets. It keeps them alive until it is told to
stop.

Rules:
1. The parent opens the sockets and closes them only when it stops, so a restart does not refuse connections. It serves
   none itself.
2. A worker reports over its control socket that it is ready, and accepts connections once it is told to; at the start,
   that is when all are ready. The socket's end tells it that its parent is gone. SIGTERM means "finish the running
   requests and exit".
3. A dead worker is started again, with the configuration that was checked last (the file on disk may be newer). The
   pause before it doubles with each death in a row before a worker was ready; any worker that becomes ready ends the
   row. A worker that had served is restarted at once, however often, so that repeated kills do not cause pauses without
   a worker. If no worker becomes ready any more, or too many die in a minute, the supervisor ends with a clear message:
   a broken gateway must not look like a running one.
4. SIGHUP replaces the workers one by one, after the configuration was checked: the new one is ready before the old
   one is told to go. After a bad file, or if a new worker does not become ready, the old workers stay and the log
   says why. Signals during a reload cause one further reload together, which reads the file after the last of them.
5. A worker's place is filled under the place's lock. If a restart and a reload both filled it, one of the two new
   workers would serve without a place, with a configuration that no reload replaces.
6. SIGTERM and SIGINT let the workers drain. They are told that the gateway is leaving (`/readyz` answers 503); after
   `drain_notice_ms` parent and workers close their sockets. A second signal ends them at once.
"""

from __future__ import annotations

import logging
import signal
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import trio
from attrs import define, field

from pg_trio.config.settings import ServerSettings
from pg_trio.errors import ConfigError, WorkersFailed
from pg_trio.server.early_reload import reload_was_asked
from pg_trio.server.forking import Forks, start_process
from pg_trio.server.nameless_file import open_nameless_file
from pg_trio.server.status_file import StatusFile
from pg_trio.server.worker_files import GO, LEAVING, READY, WorkerFiles, WorkerProcess

logger = logging.getLogger("pg_trio.supervisor")

FIRST_PAUSE_S = 0.1
LAST_PAUSE_S = 10.0
# systemd's start limit is 5 starts in 10 s; this one must survive a worker killed every second for a while.
DEATHS_PER_MINUTE = 120
# The supervisor ends after this many deaths in a row before a worker was ready, with no serving worker left: one limit
# for workers that ended by themselves, one for all deaths. SIGKILL has its own limit, because it comes from outside:
# another process, or the kernel when memory is short, perhaps only for a moment.
STILLBIRTHS = 5
KILLED_STILLBIRTHS = 20
# If all such deaths were by SIGKILL, the pause stays short: on a busy machine the killing process hits starting
# workers.
LAST_KILLED_PAUSE_S = 1.0
# A worker has its own limit for draining; it is killed this long after it.
KILL_AFTER_DRAIN_S = 5.0
# The time for the kernel to end a killed process; during a disk's failure it may take longer.
KILLED_S = 2.0
# A dead worker's last message is already in its control socket.
LAST_WORDS_S = 1.0


@define(eq=False)
class Worker:
    """One worker process. `ready` and `exited` are set once each; `status` is then its exit status."""

    process: WorkerProcess
    control: trio.SocketStream
    ready: trio.Event = field(factory=trio.Event)
    exited: trio.Event = field(factory=trio.Event)
    # Set when the worker sends no more messages.
    heard: trio.Event = field(factory=trio.Event)
    # A stream has one sender at a time, and a signal to stop may come while the worker is told to accept.
    telling: trio.Lock = field(factory=trio.Lock)
    retired: bool = False

    @property
    def pid(self) -> int:
        return self.process.pid

    def retire(self) -> None:
        """Tell it to finish its requests and exit. The exit then does not count as a death."""
        self.retired = True
        self.process.terminate()


@define(eq=False)
class Supervisor:
    """Keeps `settings.workers` processes of `command` alive on the sockets; see the rules above.

    A worker is forked by `forks`, or else is a new process of `command` with the options of WorkerFiles. The text that
    it gets is `configuration`.
    `check` returns the configuration's text, or raises ConfigError if it cannot be used; it runs in a thread, before
    each reload. `announce` is called once every worker is ready.
    """

    command: Sequence[str]
    settings: ServerSettings
    sockets: Sequence[socket.socket]
    configuration: str
    check: Callable[[], str]
    status_file: StatusFile
    announce: Callable[[], None]
    admin_sockets: Sequence[socket.socket] = ()
    forks: Forks | None = None
    start_limit_s: float = 60.0
    # One worker and one lock for each place (rule 5); and every living process, with or without a place.
    _workers: list[Worker] = field(factory=list, init=False)
    _places: list[trio.Lock] = field(factory=list, init=False)
    _living: set[Worker] = field(factory=set, init=False)
    _deaths: deque[float] = field(factory=deque, init=False)
    # Deaths in a row before a worker was ready: all, and those not by SIGKILL.
    _stillbirths: int = field(default=0, init=False)
    _failed_starts: int = field(default=0, init=False)
    _stopping: bool = field(default=False, init=False)
    _hurry: trio.Event = field(factory=trio.Event, init=False)
    _failure: str | None = field(default=None, init=False)
    _reload_asked: trio.Event = field(factory=trio.Event, init=False)

    async def run(self) -> None:
        """Run until a signal says stop. Raises WorkersFailed."""
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        with trio.open_signal_receiver(*numbers) as signals, ExitStack() as stack:
            stack.callback(self.status_file.remove)
            if reload_was_asked():
                self._reload_asked.set()
            try:
                async with trio.open_nursery() as nursery:
                    if self.forks is not None:
                        nursery.start_soon(self.forks.run)
                    nursery.start_soon(self._serve, nursery)
                    async for number in signals:
                        if number == signal.SIGHUP:
                            self._reload_asked.set()
                        elif self._stopping:
                            self._hurry.set()
                            self._kill_all()
                        else:
                            nursery.start_soon(self._stop, nursery.cancel_scope)
            finally:
                self._kill_all()
                if self.forks is not None:
                    await self.forks.aclose()
        if self._failure:
            raise WorkersFailed(self._failure)

    async def _serve(self, nursery: trio.Nursery) -> None:
        await self._start_all(nursery)
        if self._failure or self._stopping:
            return
        self.status_file.write(workers=[worker.pid for worker in self._workers])
        self.announce()
        while True:
            await self._reload_asked.wait()
            # A signal from now on requests another reload, because this one may read the file before it changes again.
            self._reload_asked = trio.Event()
            await self._replace_all(nursery)

    def _give_up(self, nursery: trio.Nursery, said: str) -> None:
        # Raised after the nursery has closed: inside, it would arrive as an exception group.
        self._failure = said
        nursery.cancel_scope.cancel(reason=said)

    # ── starting ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _start_all(self, nursery: trio.Nursery) -> None:
        while len(self._workers) < self.settings.workers and not self._stopping:
            self._workers.append(await self._start(nursery, len(self._workers)))
            self._places.append(trio.Lock())
        for worker in self._workers:
            is_ready = await self._wait_ready(worker)
            if self._stopping:
                return
            if not is_ready:
                self._give_up(nursery, "a worker ended before it was ready; what it said is above")
                return
        for slot, worker in enumerate(self._workers):
            await self._tell(worker, GO)
            nursery.start_soon(self._keep_alive, nursery, slot)

    async def _tell(self, worker: Worker, what: bytes) -> None:
        """Tell a worker GO or LEAVING."""
        try:
            async with worker.telling:
                await worker.control.send_all(what)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # it died meanwhile, and its watcher handles that

    async def _start(self, nursery: trio.Nursery, slot: int) -> Worker:
        ours, theirs = socket.socketpair()
        with ExitStack() as undo, theirs, open_nameless_file(self.status_file.folder) as text:
            undo.callback(ours.close)
            text.write(self.configuration.encode("utf-8"))
            text.flush()
            sockets = [sock.fileno() for sock in self.sockets]
            admin = [sock.fileno() for sock in self.admin_sockets]
            files = WorkerFiles(sockets, theirs.fileno(), text.fileno(), slot, admin)
            process = await start_process(self.command, self.forks, files)
            undo.pop_all()
        worker = Worker(process, trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
        self._living.add(worker)
        if self._stopping:
            worker.retire()
        nursery.start_soon(self._watch, worker)
        nursery.start_soon(self._listen, worker)
        return worker

    async def _watch(self, worker: Worker) -> None:
        await worker.process.wait()
        self._living.discard(worker)
        # It may have reported that it is ready just before; then its start did not fail.
        with trio.move_on_after(LAST_WORDS_S):
            await worker.heard.wait()
        worker.exited.set()
        worker.control.socket.close()

    async def _listen(self, worker: Worker) -> None:
        try:
            if await worker.control.receive_some(len(READY)) == READY:
                worker.ready.set()
                self._stillbirths = self._failed_starts = 0
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        finally:
            worker.heard.set()

    async def _wait_ready(self, worker: Worker) -> bool:
        """True once the worker is ready; False if it ended first, or took too long and was killed.

        A worker that became ready and died since counts as ready. The task of its place counts the death.
        """
        with trio.move_on_after(self.start_limit_s):
            async with trio.open_nursery() as nursery:

                async def wait(event: trio.Event) -> None:
                    await event.wait()
                    nursery.cancel_scope.cancel(reason="one of both happened")

                nursery.start_soon(wait, worker.ready)
                nursery.start_soon(wait, worker.exited)
        if worker.ready.is_set():
            return True
        worker.retired = True
        worker.process.kill()
        return False

    # ── keeping alive ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _keep_alive(self, nursery: trio.Nursery, slot: int) -> None:
        while True:
            worker = self._workers[slot]
            await worker.exited.wait()
            if self._stopping:
                return
            if worker is not self._workers[slot]:
                continue
            self._count_death(nursery, worker)
            await trio.sleep(self._pause_s())
            async with self._places[slot]:
                # A reload may have filled the place meanwhile.
                if worker is not self._workers[slot] or self._stopping:
                    continue
                self._workers[slot] = new = await self._start(nursery, slot)
            self.status_file.write(workers=[worker.pid for worker in self._workers])
            if await self._wait_ready(new):
                await self._tell(new, GO)

    def _pause_s(self) -> float:
        longest_s = LAST_PAUSE_S if self._failed_starts else LAST_KILLED_PAUSE_S
        return min(FIRST_PAUSE_S * 2.0**self._stillbirths, longest_s)

    def _count_death(self, nursery: trio.Nursery, worker: Worker) -> None:
        now = trio.current_time()
        self._deaths.append(now)
        while self._deaths[0] < now - 60:
            self._deaths.popleft()
        logger.error("worker %d ended with status %s; starting another", worker.pid, worker.process.returncode)
        if not worker.ready.is_set():
            self._stillbirths += 1
            self._failed_starts += worker.process.returncode != -signal.SIGKILL
        serving = any(other.ready.is_set() and not other.exited.is_set() for other in self._workers)
        hopeless = self._failed_starts >= STILLBIRTHS or self._stillbirths >= KILLED_STILLBIRTHS
        if hopeless and not serving:
            self._give_up(nursery, f"{self._stillbirths} workers in a row died before they were ready; giving up")
        elif len(self._deaths) > DEATHS_PER_MINUTE:
            self._give_up(nursery, f"workers died {len(self._deaths)} times within a minute; giving up")

    # ── reloading ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _replace_all(self, nursery: trio.Nursery) -> None:
        if self._stopping:
            return
        try:
            self.configuration = await trio.to_thread.run_sync(self.check)
        except ConfigError as error:
            self._refuse_reload(f"the old configuration stays: {error}")
            return
        for slot in range(len(self._workers)):
            if not await self._replace(nursery, slot):
                self._refuse_reload(
                    f"new worker {slot + 1} of {len(self._workers)} did not get ready (what it said is above); the"
                    " workers from there on still serve the old configuration"
                )
                return
        logger.info("reloaded: every worker is new")
        self.status_file.count("reloads", workers=[worker.pid for worker in self._workers])

    def _refuse_reload(self, said: str) -> None:
        if self._stopping:
            # The new worker was told to go before it was ready.
            return
        logger.error("reload refused: %s", said)
        self.status_file.count("refusals", said=said)

    async def _replace(self, nursery: trio.Nursery, slot: int) -> bool:
        async with self._places[slot]:
            if self._stopping:
                return False
            new = await self._start(nursery, slot)
            if not await self._wait_ready(new) or new.exited.is_set():
                return False
            await self._tell(new, GO)
            old, self._workers[slot] = self._workers[slot], new
        if not old.exited.is_set():
            old.retire()
            await self._wait_gone([old])
        return True

    # ── stopping ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _stop(self, scope: trio.CancelScope) -> None:
        self._stopping = True
        for worker in self._living.copy():
            await self._tell(worker, LEAVING)
        if self.settings.drain_notice_ms:
            logger.info("not ready any more; serving on for %g s", self.settings.drain_notice_ms / 1000)
            with trio.move_on_after(self.settings.drain_notice_ms / 1000):
                await self._hurry.wait()
        logger.info("finishing running requests, at most %g s", self.settings.drain_ms / 1000)
        # The workers close theirs when they are told; then the kernel refuses new connections.
        for sock in (*self.sockets, *self.admin_sockets):
            sock.close()
        leaving = list(self._living)
        for worker in leaving:
            worker.retire()
        await self._wait_gone(leaving)
        scope.cancel(reason="every worker is gone")

    async def _wait_gone(self, workers: Sequence[Worker]) -> None:
        """Wait for the end of retired workers, a little longer than their drain time at most; then kill them."""
        with trio.move_on_after(self.settings.drain_ms / 1000 + KILL_AFTER_DRAIN_S):
            for worker in workers:
                await worker.exited.wait()
        stayed = [worker for worker in workers if not worker.exited.is_set()]
        for worker in stayed:
            logger.error("worker %d overstayed its drain time; killed", worker.pid)
            worker.process.kill()
        with trio.move_on_after(KILLED_S):
            for worker in stayed:
                await worker.exited.wait()

    def _kill_all(self) -> None:
        for worker in self._living:
            worker.process.kill()
