"""Messages about slots that are late, lost or in another order: nodes never use more than the limit together.

Redis runs the real script. The network and the clock of the nodes are the test's.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from random import Random

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from pg_trio.cluster.node import Node
from pg_trio.cluster.redis.keys import MARK, node_key, slots_keys
from pg_trio.cluster.redis.redis_slots import SLOTS
from pg_trio.cluster.redis.resp import Reply, RespReader
from pg_trio.cluster.redis.slot_lease import LEASE_S, SlotLease, SlotMessage, SlotReply
from pg_trio.shared_memory.leases import CallLeases, LeaseBook
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.slot_grants import SlotGrants
from pg_trio.shared_memory.spend import SharedSpend
from tests.support.engines import RedisServer

NODES, WORKERS, REPLY_S = 3, 2, 0.05
NUMBERS = count(1)
# What happens next, and how often.
ACTIONS = {"call": 6, "end": 3, "tell": 6, "run": 5, "hear": 5, "lose": 1, "wait": 2, "need": 1}
STEPS = 300


@define(eq=False)
class Call:
    """A message under way, and its reply once Redis has run it."""

    lease: SlotLease
    message: SlotMessage
    sent_at: float
    reply: SlotReply | None = None


@define(eq=False)
class Server:
    """A connection to Redis that waits for each reply."""

    stream: socket.socket
    reader: RespReader = field(factory=RespReader)

    def run(self, call: Call, key: bytes) -> None:
        lease, message = call.lease, call.message
        keys = (node_key(lease.node.name), MARK, *slots_keys(key))
        reply = self.ask(SLOTS.call(keys, (lease.node.id, int(LEASE_S * 1000), "", *message.arguments())))
        assert isinstance(reply, list)
        call.reply = SlotReply(*[part for part in reply if isinstance(part, int)])

    def ask(self, command: bytes) -> Reply:
        self.stream.sendall(command)
        while True:
            if replies := self.reader.feed(self.stream.recv(65_536)):
                return replies[0]


@define(eq=False)
class Nodes:
    """Workers of several nodes with one limit."""

    limit: int
    key: bytes
    server: Server
    leases: list[SlotLease] = field(factory=list)
    calls: list[Call] = field(factory=list)
    # Of each worker.
    running: Counter[int] = field(factory=Counter)
    now: float = 1000.0

    def step(self, luck: Random) -> None:
        worker = luck.randrange(NODES * WORKERS)
        lease = self.leases[worker]
        match luck.choices(list(ACTIONS), list(ACTIONS.values()))[0]:
            case "call" if lease.acquire(self.now, is_away=False):
                self.running[worker] += 1
            case "end" if self.running[worker]:
                self.end(worker)
            case "tell":
                self.tell(lease)
            case "run" if sent := [one for one in self.calls if one.reply is None]:
                self.server.run(luck.choice(sent), self.key)
            case "hear" if replied := [one for one in self.calls if one.reply is not None]:
                self.hear(luck.choice(replied))
            case "lose" if self.calls:
                # The worker gives up. The message may be run later, and its reply come later still.
                call = luck.choice(self.calls)
                call.lease.forget(call.message)
            case "wait":
                self.now += luck.choice([0.01, REPLY_S, 0.11, 0.5, 1.1, 8.0])
            case "need":
                lease.waiting = luck.randrange(4)

    def end(self, worker: int) -> None:
        self.running[worker] -= 1
        self.leases[worker].counted.release(self.key)

    def hear(self, call: Call) -> None:
        assert call.reply is not None
        self.calls.remove(call)
        call.lease.hear(call.message, call.sent_at, call.reply)

    def tell(self, lease: SlotLease) -> None:
        message = lease.draw(self.now, None, REPLY_S)
        if message is not None:
            self.calls.append(Call(lease, message, self.now))


@pytest.fixture(scope="module")
def server(redis_server: RedisServer) -> Iterator[Server]:
    with socket.create_connection(("127.0.0.1", redis_server.port), timeout=10.0) as stream:
        connected = Server(stream)
        connected.ask(SLOTS.load())
        yield connected


def open_nodes(stack: ExitStack, folder: Path, server: Server, limit: int) -> Nodes:
    """All workers of a node share its file, as real ones do."""
    number = next(NUMBERS)
    nodes = Nodes(limit, number.to_bytes(20), server)
    for worker in range(NODES * WORKERS):
        node = Node(f"luck-{worker // WORKERS}", f"node-{worker // WORKERS}", live_nodes=NODES)
        path = folder / f"{number}-{node.name}.mem"
        segment = stack.enter_context(closing(open_segment(path, slots=256)))
        book = CallLeases(LeaseBook(stack.enter_context(closing(SharedSpend(segment)))))
        nodes.leases.append(SlotLease(nodes.key, limit, node, book, SlotGrants(segment).find(nodes.key), refuses=False))
    return nodes


@settings(max_examples=100)
@given(limit=st.integers(1, 6), luck=st.randoms(use_true_random=True))
def test_nodes_never_use_more_than_the_limit(
    server: Server, tmp_path_factory: pytest.TempPathFactory, limit: int, luck: Random
) -> None:
    with ExitStack() as stack:
        nodes = open_nodes(stack, tmp_path_factory.getbasetemp(), server, limit)

        for _ in range(STEPS):
            nodes.step(luck)
            assert nodes.running.total() <= limit

        # Whatever was lost, a node that alone needs slots has all of them in the end.
        for worker in list(nodes.running.elements()):
            nodes.end(worker)
        for lease in nodes.leases:
            lease.waiting = 0
        nodes.leases[0].waiting = limit
        for _ in range(6):
            nodes.now += 1.0
            for lease in nodes.leases[::WORKERS]:
                nodes.tell(lease)
                server.run(nodes.calls[-1], nodes.key)
                nodes.hear(nodes.calls[-1])
        assert limit == nodes.leases[0].usable(nodes.now, is_away=False)
