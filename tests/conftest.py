"""What holds for every test of the suite."""

from __future__ import annotations

from collections.abc import Generator
from inspect import iscoroutinefunction

import pytest

from tests.support.strays import without_strays


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Function) -> Generator[None, None, None]:
    """Fail an async test that ends by a cancellation of its own: pytest-trio would let it pass."""
    hypothesis = getattr(item.obj, "hypothesis", None)
    if hypothesis is None:
        item.obj = _checked(item.obj)
    else:
        hypothesis.inner_test = _checked(hypothesis.inner_test)
    return (yield)


def _checked(test: object) -> object:
    return without_strays(test) if iscoroutinefunction(test) else test
