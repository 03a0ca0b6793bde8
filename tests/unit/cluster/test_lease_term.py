"""Until when a node may spend its leases, and when others may take them back."""

from __future__ import annotations

from collections.abc import Collection

from attrs import define

from pg_trio.cluster.node import BREAK_S, Node
from pg_trio.cluster.postgres.lease_term import LeaseTerm

SPEND_S, SILENT_S = 40.0, 70.0


@define
class World:
    now: float = 1000.0
    seen: Collection[str] | None = ()

    def make_term(self) -> LeaseTerm:
        return LeaseTerm(Node("gw-1", "id"), SILENT_S, SPEND_S, lambda _: self.seen, lambda: self.now)

    def beat(self, term: LeaseTerm, until: float, every_s: float = 1.0) -> None:
        """Let signs of life go to Redis from now on."""
        while self.now + every_s <= until:
            self.now += every_s
            term.node.note_beat(self.now)


def test_nothing_is_spent_before_postgres_was_told() -> None:
    world = World()
    term = world.make_term()
    world.beat(term, 1100.0)

    assert not term.may_spend()


def test_told_holder_spends_from_when_its_word_was_sent() -> None:
    world = World(now=1005.0)
    term = world.make_term()
    term.note_told(1000.0)

    world.now = 1000.0 + SPEND_S - 0.1
    within = term.may_spend()
    world.now += 0.2

    assert (True, False) == (within, term.may_spend())


def test_older_word_shortens_nothing() -> None:
    world = World()
    term = world.make_term()
    term.note_told(1000.0)
    term.note_told(900.0)

    assert term.may_spend()


def test_beats_carry_a_holder_on() -> None:
    world = World()
    term = world.make_term()
    term.note_told(1000.0)
    world.beat(term, 5000.0)

    carried = term.may_spend()
    world.now += SPEND_S

    assert (True, False) == (carried, term.may_spend())


def test_beats_after_a_break_do_not() -> None:
    world = World()
    term = world.make_term()
    term.note_told(1000.0)
    world.beat(term, 1100.0)
    world.now += BREAK_S + 1.0
    world.beat(term, 1200.0)

    ended = term.may_spend()
    term.note_told(world.now)

    assert (False, True) == (ended, term.may_spend())


def test_beats_that_began_after_the_end_do_not() -> None:
    world = World()
    term = world.make_term()
    term.note_told(1000.0)
    world.now = 1000.0 + SPEND_S
    world.beat(term, 1100.0)

    assert not term.may_spend()


def test_nothing_is_taken_back_before_postgres_was_heard_for_long() -> None:
    world = World(seen=("other",))
    term = world.make_term()
    never = term.find_spared()
    term.note_answer(is_away=False)
    world.now += SILENT_S - 1.0
    early = term.find_spared()
    world.now += 1.0
    late = term.find_spared()
    term.note_answer(is_away=True)
    term.note_answer(is_away=False)

    assert (None, None, ("other",), None) == (never, early, late, term.find_spared())


def test_nothing_is_taken_back_without_word_of_redis() -> None:
    world = World(seen=None)
    term = world.make_term()
    term.note_answer(is_away=False)
    world.now += SILENT_S

    assert term.find_spared() is None
