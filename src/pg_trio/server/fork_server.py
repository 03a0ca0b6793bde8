"""The fork server: a process that has imported what workers need, and forks them.

Why and how it was measured: docs/decisions/032-fork-server.md. Rules:

1. It is forked before the supervisor has an event loop, a thread, a lock or a file; it has none itself, and opens none.
   So a worker begins with memory, nothing else.
2. It does one thing at a time: forks a worker for each message, with the descriptors that came along, and tells of each
   that ended. Descriptors are closed here at once.
3. Signals are for the supervisor and the workers. It ends when the supervisor's end of the socket is closed.
4. If it is lost, the supervisor starts workers as new programs; those that run are not touched.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from attrs import frozen

from pg_trio.server.worker_files import WorkerFiles

# Far more than a worker gets: two sockets, its control socket and the text.
MAX_DESCRIPTORS = 64
MESSAGE_BYTES = 4096
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@frozen(eq=False)
class ForkServer:
    """A running fork server, as its parent knows it: `link` is a socket of datagrams."""

    pid: int
    link: socket.socket


def start_fork_server(serve_worker: Callable[[WorkerFiles], int]) -> ForkServer | None:
    """Fork a fork server, whose workers run `serve_worker` and end with what it returns.

    None where a process cannot be watched by a descriptor, or where this one has more than one thread.
    """
    if not hasattr(os, "pidfd_open") or len(os.listdir("/proc/self/task")) > 1:
        return None
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    sys.stderr.flush()
    # What lives now is never scanned again, in all three processes, so its pages stay shared.
    gc.collect()
    gc.freeze()
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        return None
    if pid == 0:
        ours.close()
        _end_with(lambda: _serve_forks(theirs, serve_worker))
    theirs.close()
    return ForkServer(pid, ours)


def _end_with(run: Callable[[], int]) -> NoReturn:
    """End this process with the status that `run` returns, without what its parent would do at its end."""
    status = 1
    try:
        status = run()
    except BaseException:  # noqa: BLE001  # the process ends here
        traceback.print_exc()
    finally:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                continue
        os._exit(status)


def _serve_forks(link: socket.socket, serve_worker: Callable[[WorkerFiles], int]) -> int:
    _leave_terminal()
    # Not lost while a new worker has not said yet what it does at a SIGTERM.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    # A signal's number is written to `woken` when a worker ends.
    wakes, woken = socket.socketpair()
    for end in (wakes, woken):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    poll = select.poll()
    for end in (link, wakes):
        poll.register(end, select.POLLIN)
    while True:
        ready = {number for number, _ in poll.poll()}
        if wakes.fileno() in ready:
            wakes.recv(MESSAGE_BYTES)
            _tell_ended(link)
        if link.fileno() in ready:
            message, descriptors, _, _ = socket.recv_fds(link, MESSAGE_BYTES, MAX_DESCRIPTORS)
            if not message:
                return 0
            files = WorkerFiles.of_descriptors(descriptors, **json.loads(message))
            _fork_worker(link, (wakes, woken), files, serve_worker)


def _leave_terminal() -> None:
    """What the terminal or a service manager tells all processes is for others."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def _fork_worker(
    link: socket.socket,
    own: tuple[socket.socket, ...],
    files: WorkerFiles,
    serve_worker: Callable[[WorkerFiles], int],
) -> None:
    try:
        pid = os.fork()
    except OSError as error:
        told: dict[str, Any] = {"failed": error.errno}
    else:
        if pid == 0:
            _end_with(lambda: _become_worker((link, *own), files, serve_worker))
        told = {"started": pid}
    for descriptor in files.descriptors:
        os.close(descriptor)
    _tell(link, told)


def _become_worker(
    not_its: tuple[socket.socket, ...], files: WorkerFiles, serve_worker: Callable[[WorkerFiles], int]
) -> int:
    signal.set_wakeup_fd(-1)
    for one in not_its:
        one.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    return serve_worker(files)


def _tell_ended(link: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _tell(link, {"ended": pid, "status": os.waitstatus_to_exitcode(status)})


def _tell(link: socket.socket, told: dict[str, Any]) -> None:
    try:
        link.send(json.dumps(told).encode())
    except OSError:
        # The supervisor is gone; the next reading says so, too.
        return
