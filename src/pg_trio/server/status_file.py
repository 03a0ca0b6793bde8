"""What the supervisor tells other commands: a small JSON file in the data directory, replaced as a whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from attrs import define, field

FILE_NAME = "serve.json"


@define
class StatusFile:
    """The running supervisor's pid, its workers' pids, and how many reloads it made and refused so far."""

    path: Path
    _known: dict[str, Any] = field(factory=lambda: {"pid": os.getpid(), "reloads": 0, "refusals": 0})

    @classmethod
    def inside(cls, data_dir: Path) -> StatusFile:
        """The status file of the gateway with this data directory."""
        return cls(data_dir / FILE_NAME)

    def write(self, **changes: object) -> None:
        """Replace the file: what was known before, with these changes."""
        self._known |= changes
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self._known) + "\n", encoding="utf-8")
        new.replace(self.path)

    def count(self, what: str, **changes: object) -> None:
        """The same, and one more of `what`."""
        self.write(**{what: self._known[what] + 1}, **changes)

    def remove(self) -> None:
        """Nobody serves any more."""
        self.path.unlink(missing_ok=True)

    def read(self) -> dict[str, Any] | None:
        """What the running supervisor wrote last; None if none runs."""
        try:
            known = json.loads(self.path.read_text(encoding="utf-8"))
            os.kill(known["pid"], 0)
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return dict(known)
