"""The matrix of clients and features in docs/surfaces.md: made from a run of tests/clients, held against its list.

usage: scripts/client-matrix     runs tests/clients and writes the matrix; fails where a declared feature was not shown
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Collection
from pathlib import Path

from tests.clients.declared import CLIENTS, FEATURES, Client

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "surfaces.md"
BEGIN, END = "<!-- clients: scripts/client-matrix -->\n", "<!-- end of clients -->"

Shown = Collection[tuple[str, str]]


def declared() -> Shown:
    """What the list says of each client."""
    return {(client.name, feature) for client in CLIENTS for feature in client.features}


def version_of(client: Client) -> str:
    """The version that the lock file of the client's environment pins."""
    if client.environment == "node":
        lock = json.loads((ROOT / "tests" / "clients" / "node" / "package-lock.json").read_text(encoding="utf-8"))
        return str(lock["packages"][f"node_modules/{client.package}"]["version"])
    pins = (ROOT / "requirements" / f"{client.environment.removeprefix('.venv-')}.lock").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(client.package)}==(\S+)", pins, re.MULTILINE)
    assert found is not None, f"{client.package} is not pinned"
    return found[1]


def render(shown: Shown) -> str:
    """Both tables: the matrix, and what each of its columns means."""
    head = ["client", "version", "path", *FEATURES]
    rows = [head, ["---"] * len(head)]
    for client in CLIENTS:
        cells = ["✓" if (client.name, feature) in shown else "–" for feature in FEATURES]
        rows.append([client.name, version_of(client), f"`{client.path}`", *cells])
    legend = [["column", "what is shown"], ["---", "---"], *([name, text] for name, text in FEATURES.items())]
    return "\n\n".join(_table(table) for table in (rows, legend)) + "\n"


def fill(text: str, shown: Shown) -> str:
    """The document with the tables of what was shown between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    assert mark, f"{FILE.name} has no place for the matrix"
    return before + BEGIN + "\n" + render(shown) + "\n" + END + after


def _table(rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def main() -> int:
    """Write what the run behind the file of results showed. 1 if the list says more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="what the run left: JSON, [[client, feature], …]")
    shown = {(client, feature) for client, feature in json.loads(parser.parse_args().results.read_text("utf-8"))}
    FILE.write_text(fill(FILE.read_text(encoding="utf-8"), shown), encoding="utf-8")
    for client, feature in sorted(set(declared()) - shown):
        print(f"{client}: {feature} was not shown", file=sys.stderr)
    return int(bool(set(declared()) - shown))


if __name__ == "__main__":
    sys.exit(main())
