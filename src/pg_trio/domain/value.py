"""`@value(slots=True)`: an attrs class that nobody changes once it is made.

To the type checker it is `attrs.frozen`, and mypy refuses every assignment to a field. At run time it is not: the
`__init__` of a frozen class sets each field through `object.__setattr__`, which makes one of ten fields take three
times as long, and a request makes some twenty of them. What is made once (configuration, rules) stays truly frozen.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrs import frozen as value
else:
    from attrs import define

    value = partial(define, unsafe_hash=True)

__all__ = ["value"]
