"""Logs a background task's failures once, not ten times a second."""

from __future__ import annotations

import logging


class Outage:
    """Logs the first failure in a row, and the first success after it. `is_on`: the last call failed."""

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger = logger
        self._what = what
        self.is_on = False

    def failed(self, error: Exception) -> None:
        """Call at every failure."""
        if not self.is_on:
            said = str(error)
            # Some errors are sentences.
            end = "" if said.endswith((".", "!", "?")) else "."
            self._logger.error("%s: %s%s Trying again until it works.", self._what, said, end)
        self.is_on = True

    def succeeded(self) -> None:
        """Call at every success."""
        if self.is_on:
            self._logger.warning("%s: works again.", self._what)
        self.is_on = False
