"""The clients' programs, and a gateway with candidates of three wires for them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.clients.declared import CLIENTS, Client
from tests.clients.talking import ClientProgram
from tests.clients.world import World, open_world

# Where a run of these tests leaves which features it showed (scripts/client-matrix).
RESULTS = "PG_TRIO_CLIENT_RESULTS"
_OUTCOMES: dict[tuple[str, str], set[str]] = {}


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Note how the tests of each feature of each client ended."""
    mark = item.get_closest_marker("shows")
    if mark is not None and (call.when == "call" or call.excinfo is not None):
        outcome = "passed" if call.excinfo is None else "did not pass"
        _OUTCOMES.setdefault((mark.args[0], mark.args[1]), set()).add(outcome)


def pytest_sessionfinish() -> None:
    """Write down the features all of whose tests passed."""
    if file := os.environ.get(RESULTS):
        shown = [key for key, outcomes in _OUTCOMES.items() if outcomes == {"passed"}]
        Path(file).write_text(json.dumps(sorted(shown)), encoding="utf-8")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them are slow."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def programs() -> Iterator[dict[str, ClientProgram]]:
    """The clients' programs by the clients' names. None runs before its first question."""
    made = {client.name: ClientProgram(client.command) for client in CLIENTS}
    yield made
    for program in made.values():
        program.close()


@pytest.fixture
def program(request: pytest.FixtureRequest, programs: dict[str, ClientProgram]) -> ClientProgram:
    """The program of the test's parameter `client`. Without its packages the test is skipped, but never in CI."""
    client: Client = request.getfixturevalue("client")
    if missing := client.missing():
        assert "CI" not in os.environ, missing
        pytest.skip(missing)
    return programs[client.name]


@pytest.fixture
async def world(nursery: trio.Nursery, tmp_path: Path) -> World:
    """A gateway with an endpoint for each wire, named after it."""
    return await open_world(nursery, tmp_path)
