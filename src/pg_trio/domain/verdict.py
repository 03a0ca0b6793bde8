"""What happens to the next request: the one question that a server asks of admission."""

from __future__ import annotations

from enum import Enum


class Verdict(Enum):
    """Admit: it starts soon. Queue: it waits behind others. Refuse: it should be turned away at once."""

    ADMIT = "admit"
    QUEUE = "queue"
    REFUSE = "refuse"
