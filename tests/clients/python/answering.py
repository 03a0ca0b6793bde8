"""Lets a test talk to a real client: a question a line on standard input, its answer a line on standard output.

A question is `{"scenario": NAME, …}`. Its answer is `{"gave": …}`, or `{"raised": …}` with what the client raised.
Only the client's own packages are imported here, because its environment has neither pg_trio nor pytest.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

Question = dict[str, Any]
Scenario = Callable[[Question], Any]

_SCENARIOS: dict[str, Scenario] = {}

# What an exception of an SDK may say about the answer that it is made of.
_FIELDS = ("status_code", "code", "param", "type", "request_id")


def scenario(run: Scenario) -> Scenario:
    """A function that a question may name."""
    _SCENARIOS[run.__name__] = run
    return run


def answer_questions() -> None:
    """Answer until standard input ends. The client's own prints go to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            said = {"gave": _SCENARIOS[question.pop("scenario")](question)}
        except Exception as error:  # noqa: BLE001 # the test judges what a client raises
            said = {"raised": describe(error)}
        answers.write(json.dumps(said) + "\n")
        answers.flush()


def describe(error: BaseException) -> dict[str, Any]:
    """An exception: the names of its classes, what it says, and the SDK's own fields."""
    fields = {name: getattr(error, name, None) for name in _FIELDS}
    return {
        "classes": [each.__name__ for each in type(error).__mro__],
        "message": str(error),
        **{name: value if isinstance(value, str | int) else None for name, value in fields.items()},
    }
