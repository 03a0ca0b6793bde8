"""A limit for every test of the suite: a test that waits for ever fails, and says what each of its tasks waited for."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import trio
from trio.testing import MockClock

_P = ParamSpec("_P")
_R = TypeVar("_R")


class StoodStillError(AssertionError):
    """A test was not over in time."""

    def __init__(self, limit_s: float, tasks: str) -> None:
        super().__init__(f"the test was not over after {limit_s:g} s; its tasks were here:\n\n{tasks}")


def within(limit_s: float, test: Callable[_P, Awaitable[_R]]) -> Callable[_P, Awaitable[_R]]:
    """The test, which fails after this time. Under a MockClock it has no limit: no time passes there by itself."""

    @wraps(test)
    async def limited(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if isinstance(trio.lowlevel.current_clock(), MockClock):
            return await test(*args, **kwargs)
        over, waited = trio.CancelScope(), list[str]()
        trio.lowlevel.spawn_system_task(_watch, limit_s, running := trio.CancelScope(), over, waited)
        with running:
            try:
                return await test(*args, **kwargs)
            except Exception as error:
                # What the cancellation became on its way out.
                if waited:
                    raise StoodStillError(limit_s, waited[0]) from error
                raise
            finally:
                over.cancel()
        raise StoodStillError(limit_s, waited[0])

    return limited


async def _watch(limit_s: float, running: trio.CancelScope, over: trio.CancelScope, waited: list[str]) -> None:
    with over:
        await trio.sleep(limit_s)
        waited.append(describe_tasks())
        running.cancel()


def describe_tasks() -> str:
    """The stack of every task of this run, the newest call last."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    return "\n".join(_describe(root))


def _describe(task: trio.lowlevel.Task) -> list[str]:
    stack = traceback.StackSummary.extract(task.iter_await_frames())
    children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return [f"task {task.name}:\n{''.join(stack.format())}", *(line for child in children for line in _describe(child))]
