"""`@value(slots=True)`: an attrs class whose objects must not change after they are made.

To the type checker it is `attrs.frozen`, and mypy refuses every assignment to a field. At run time it is not frozen:
the `__init__` of a frozen class sets each field through `object.__setattr__`, which takes three times as long with ten
fields, and a request makes some twenty such objects. Objects that are made once (configuration, rules) are truly
frozen.
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
