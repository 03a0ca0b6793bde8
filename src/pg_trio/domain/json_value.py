"""JSON values, as a parser returns them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Json: TypeAlias = Any  # the result of a JSON parser: dict, list, str, int, float, bool, None
JsonObject: TypeAlias = Mapping[str, Json]


def json_texts(value: Json) -> list[str]:
    """Every string, key and number in a JSON value, in no particular order. Numbers become text."""
    texts: list[str] = []
    rest = [value]
    while rest:
        node = rest.pop()
        if isinstance(node, str):
            texts.append(node)
        elif isinstance(node, dict):
            texts.extend(node)
            rest.extend(node.values())
        elif isinstance(node, list | tuple):
            rest.extend(node)
        elif node is not None and not isinstance(node, bool):
            texts.append(str(node))
    return texts
