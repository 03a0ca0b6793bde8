"""Who may import whom: reads every import of the package and holds the table of docs/design.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "pg_trio"

EVERYTHING = None
# room: (rooms of ours it may import, packages of others beyond the standard library)
TABLE: dict[str, tuple[set[str] | None, set[str] | None]] = {
    "errors": (set(), {"attrs"}),
    "domain": ({"errors"}, {"attrs"}),
    # The protocols of what a race reads and rations.
    "racing": ({"ledger"}, {"trio", "attrs"}),
    "config": ({"domain", "errors"}, {"attrs", "cattrs", "jsonschema", "jsonschema_rs", "re2", "orjson", "tomli"}),
    "providers": ({"domain", "errors"}, {"attrs", "orjson"}),
    "shared_memory": ({"errors"}, {"attrs"}),
    "ledger": (set(), {"trio", "attrs"}),
    "transport": ({"domain", "errors", "config", "racing"}, {"attrs", "trio", "httptools", "httpx", "httpcore"}),
    "store": ({"domain", "errors", "config"}, {"attrs", "trio", "orjson"}),
    "stages": (
        {"errors", "domain", "racing", "ledger", "config"},
        {"attrs", "trio", "jsonschema", "jsonschema_rs", "re2", "orjson"},
    ),
    # How clients are attached to works; of the works it knows nothing. What an answer is kept as is a domain value.
    "attachment": ({"domain", "errors"}, {"attrs", "trio"}),
    # A source waits for another one alone.
    "sources": ({"errors", "domain"}, set()),
    # Trio for its clock and its cancellations: nothing waits there.
    "recorder": ({"errors", "domain"}, {"attrs", "trio"}),
    "observe": (
        {"errors", "domain", "recorder", "shared_memory"},
        {"attrs", "orjson", "trio", "prometheus_client", "opentelemetry"},
    ),
    "traces": ({"observe", "stores", "config", "domain"}, {"attrs"}),
    "transports": ({"transport", "stages", "config", "domain", "errors"}, {"trio"}),
    "metering": (
        {"observe", "overrides", "pipeline", "stages", "stores", "shared_memory", "ledger"}
        | {"recorder", "config", "domain", "errors"},
        {"attrs"},
    ),
    # Whatever a worker compiles after its start.
    "preparation": ({"stages", "domain"}, {"trio"}),
    "catalogue": ({"stages", "domain", "errors"}, {"attrs"}),
    "overrides": ({"catalogue", "config", "domain"}, {"attrs"}),
    "received_request": ({"catalogue", "stages", "recorder", "domain", "errors", "racing"}, set()),
    "checked_request": (
        {"received_request", "catalogue", "stages", "sources", "recorder", "domain", "racing"},
        {"attrs"},
    ),
    "embedding_pipeline": ({"received_request", "stages", "recorder", "domain", "errors", "racing"}, {"attrs"}),
    "pipeline": (
        {
            "received_request",
            "checked_request",
            "embedding_pipeline",
            "catalogue",
            "stages",
            "sources",
            "recorder",
            "domain",
            "errors",
            "config",
            "racing",
        },
        {"attrs"},
    ),
    "stores": (
        {"store", "cluster", "shared_memory", "ledger", "stages", "attachment", "observe", "racing", "domain"}
        | {"errors", "config"},
        {"attrs", "trio", "psycopg"},
    ),
    # Redis's client is our own; psycopg comes with the extra `cluster`.
    "cluster": (
        {"errors", "domain", "config", "ledger", "shared_memory", "racing", "store", "stages", "observe"},
        {"attrs", "trio", "psycopg", "orjson"},
    ),
    "surfaces": ({"domain", "errors", "config"}, {"attrs", "orjson"}),
    "web": (
        {"pipeline", "surfaces", "attachment", "domain", "errors", "config"},
        {"attrs", "trio", "quart", "quart_trio", "werkzeug", "orjson"},
    ),
    "server": (
        {"pipeline", "domain", "errors", "config"},
        {"attrs", "trio", "hypercorn", "httptools", "h2", "wsproto"},
    ),
    "simulator": ({"domain", "errors"}, {"attrs", "trio", "httptools", "orjson"}),
    "gateway": (EVERYTHING, EVERYTHING),
    "app": (EVERYTHING, EVERYTHING),
    "cli": (EVERYTHING, EVERYTHING),
    "__main__": (EVERYTHING, EVERYTHING),
    "__init__": (set(), set()),
}
# Only these rooms may use these modules of the standard library.
STANDARD_LIBRARY_OWNERS = {
    "sqlite3": {"store"},
    "ssl": {"transport", "server", "cluster"},
    "socket": {"transport", "server", "simulator"},
}


def room_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).parts
    return parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[str]:
    """Absolute names of all modules that the file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield from (
                f"{node.module}.{alias.name}" if node.module == "pg_trio" else node.module for alias in node.names
            )


FILES = sorted(SOURCE.rglob("*.py"))


def complaint(path: Path, name: str) -> str | None:
    """What is wrong with `path` importing `name`, or None."""
    import sys

    room = room_of(path)
    ours, others = TABLE[room]
    top, *rest = name.split(".")
    if top == "pg_trio":
        target = rest[0] if rest else "__init__"
        allowed = ours is EVERYTHING or target in ours or target in (room, "__version__", "__init__")
        return None if allowed else f"{room} imports {target}"
    if top in sys.stdlib_module_names:
        owners = STANDARD_LIBRARY_OWNERS.get(top)
        allowed = owners is None or room in owners or others is EVERYTHING
        return None if allowed else f"{room} imports {top}"
    return None if others is EVERYTHING or top in others else f"{room} imports {top}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_hold_table(path: Path) -> None:
    complaints = [found for name in imports_of(path) if (found := complaint(path, name))]

    assert [] == complaints


def stage_of(path: Path) -> str:
    return path.relative_to(SOURCE / "stages").parts[0].removesuffix(".py")


def test_stages_never_import_each_other() -> None:
    files = list((SOURCE / "stages").rglob("*.py"))
    stages = {stage_of(path) for path in files}
    crossing = [
        (str(path.relative_to(SOURCE)), name)
        for path in files
        for name in imports_of(path)
        if name.startswith("pg_trio.stages.") and name.split(".")[2] in stages and name.split(".")[2] != stage_of(path)
    ]

    assert [] == crossing


def test_table_can_fail() -> None:
    assert "providers imports trio" == complaint(SOURCE / "providers" / "openai.py", "trio")
    assert "domain imports config" == complaint(SOURCE / "domain" / "chat.py", "pg_trio.config.settings")
    assert "surfaces imports trio" == complaint(SOURCE / "surfaces" / "contract.py", "trio")
    assert "sources imports trio" == complaint(SOURCE / "sources" / "answer_record.py", "trio")
    assert "pipeline imports surfaces" == complaint(SOURCE / "pipeline.py", "pg_trio.surfaces")
    assert "stages imports sqlite3" == complaint(SOURCE / "stages" / "budget.py", "sqlite3")
