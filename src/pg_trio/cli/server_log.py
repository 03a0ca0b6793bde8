"""How commands that serve write their own log: lines on standard error."""

from __future__ import annotations

import logging


def configure_logging() -> None:
    """Log to standard error, INFO and up, with the process in each line."""
    logging.basicConfig(format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    # httpx logs every call's URL at INFO, which is noise.
    logging.getLogger("httpx").setLevel(logging.WARNING)
