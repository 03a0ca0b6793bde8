"""TOML values -> the frozen shapes of `tables` and `settings`. Strict: a value that may be a mistake is not converted.

Rules:
1. A boolean is not a number, a number is not text, a text is not a list. An integer is accepted for a float.
2. Not-a-number and infinity are refused everywhere.
3. A wrong value is reported with its path and removed, and the rest is structured again. So later checks see all other
   values, and one report has every mistake. Removing deletes the key (its default holds); a required key or an item of
   a list becomes None.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from math import isinf
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin
from uuid import UUID

import attrs
import cattrs
from cattrs.cols import list_structure_factory, mapping_structure_factory
from cattrs.errors import BaseValidationError
from cattrs.gen import make_dict_structure_fn

from pg_trio.config import mistakes as at
from pg_trio.config.bounds import show
from pg_trio.config.mistakes import Mistakes, suggest
from pg_trio.config.reading import EnvironmentText, name_file

Shape = TypeVar("Shape")
Hook = Callable[[Any, Any], Any]

# Each round removes at least one wrong value. More rounds than this would be a bug in this code.
MAX_ROUNDS = 100


def structure_sound(raw: dict[str, Any], shape: type[Shape], path: at.Path, mistakes: Mistakes) -> Shape:
    """The shape made of the right values in `raw`. Wrong values are in `mistakes` and removed from `raw`."""
    for _ in range(MAX_ROUNDS):
        try:
            return _CONVERTER.structure(raw, shape)
        except BaseValidationError as error:
            for place, text in list(at.walk_validation(error)):
                if not mistakes.has((*path, *place)):
                    mistakes.add((*path, *place), text)
                _take_out(raw, place)
    raise AssertionError(f"{shape.__name__} never became sound")


def _take_out(raw: Any, place: at.Path) -> None:
    for step in place[:-1]:
        raw = raw[step]
    last = place[-1]
    if isinstance(raw, dict) and last in raw:
        del raw[last]
    else:
        raw[last] = None


# ── one hook a type ──────────────────────────────────────────────────────────────────────────────────────────────────


def describe(value: object) -> str:
    """The TOML type of a value, with its article, never the value. A value from the environment has no TOML type and is
    shown itself."""
    if isinstance(value, EnvironmentText):
        return show(value)
    for python_type, name in _TOML_TYPES.items():
        if isinstance(value, python_type):
            return name
    return "nothing"


_TOML_TYPES: dict[type, str] = {
    bool: "a boolean",
    int: "an integer",
    Decimal: "a float",
    float: "a float",
    str: "a string",
    list: "a list",
    dict: "a table",
    datetime: "a date",
    date: "a date",
    time: "a time",
}


def _expect(wanted: str, value: object) -> ValueError:
    return ValueError(f"expected {wanted}, found {describe(value)}")


def _structure_bool(value: Any, _: Any) -> bool:
    if not isinstance(value, bool):
        raise _expect("a boolean", value)
    return value


def _structure_int(value: Any, _: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _expect("an integer", value)
    return value


def _structure_str(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise _expect("a string", value)
    return value


def _structure_decimal(value: Any, _: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise _expect("a number or a string", value)
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{show(value)} is not a number") from None
    return _refuse_infinite(number)


def _structure_float(value: Any, _: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _expect("a number", value)
    _refuse_infinite(Decimal(value))
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("the number is too large") from None
    if isinf(number):
        raise ValueError("the number is too large")
    return number


def _refuse_infinite(number: Decimal) -> Decimal:
    if not number.is_finite():
        raise ValueError("not-a-number and infinity are no values here")
    return number


def _structure_uuid(value: Any, _: Any) -> UUID:
    text = _structure_str(value, str)
    try:
        uuid = UUID(text)
    except ValueError:
        uuid = None
    # UUID() accepts braces, urn: and missing hyphens too; the URL would then differ from the file.
    if uuid is None or str(uuid) != text.lower():
        raise ValueError(f"{show(text)} is not a UUID")
    return uuid


def _structure_path(value: Any, _: Any) -> Path:
    text = _structure_str(value, str)
    if not text or "\0" in text:
        raise ValueError("is not a path")
    if re.match(r"~|\$\{?\w", text):
        raise ValueError(f"{show(text)} is taken as it is: neither ~ nor variables mean anything here")
    return Path(name_file(text))


def _literal_hook(literal: Any) -> Hook:
    words = get_args(literal)
    listed = ", ".join(f'"{word}"' for word in words)

    def structure_word(value: Any, _: Any) -> str:
        text = _structure_str(value, str)
        if text not in words:
            raise ValueError(f"{show(text)} is none of {listed}{suggest(text, words)}")
        return text

    return structure_word


def _annotated_hook(annotated: Any, converter: cattrs.Converter) -> Hook:
    plain, *bounds = get_args(annotated)
    structure_plain = converter.get_structure_hook(plain)

    def structure_bounded(value: Any, _: Any) -> Any:
        structured = structure_plain(value, plain)
        for bound in bounds:
            bound.check(structured)
        return structured

    return structure_bounded


def _is_optional(target: Any) -> bool:
    return get_origin(target) in (Union, UnionType) and type(None) in get_args(target) and len(get_args(target)) == 2


def _optional_hook(optional: Any, converter: cattrs.Converter) -> Hook:
    """cattrs' own looks up the type's hook for each value: a fifth of the time of a file with 10,000 endpoints."""
    (plain,) = (part for part in get_args(optional) if part is not type(None))
    structure_plain = converter.get_structure_hook(plain)
    return lambda value, _: None if value is None else structure_plain(value, plain)


def _table_hook(shape: Any, converter: cattrs.Converter) -> Hook:
    structure_fields = make_dict_structure_fn(shape, converter, _cattrs_forbid_extra_keys=True)
    required = [setting.name for setting in attrs.fields(shape) if setting.default is attrs.NOTHING]
    switches = ["enabled"] if hasattr(attrs.fields(shape), "enabled") else []
    pattern = ", ".join([f"{name} = …" for name in required or switches])
    return _only(dict, f"a table ({{ {pattern} }})" if pattern else "a table", structure_fields)


def _list_hook(listed: Any, converter: cattrs.Converter) -> Hook:
    return _only(list, "a list", list_structure_factory(listed, converter))


def _mapping_hook(mapping: Any, converter: cattrs.Converter) -> Hook:
    return _only(dict, "a table", mapping_structure_factory(mapping, converter))


def _only(python_type: type, wanted: str, structure: Callable[..., Any]) -> Hook:
    def structure_checked(value: Any, target: Any) -> Any:
        if not isinstance(value, python_type):
            raise _expect(wanted, value)
        return structure(value, target)

    return structure_checked


def _is_origin(*origins: Any) -> Callable[[Any], bool]:
    return lambda target: get_origin(target) in origins


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)
    converter.register_structure_hook(bool, _structure_bool)
    converter.register_structure_hook(int, _structure_int)
    converter.register_structure_hook(float, _structure_float)
    converter.register_structure_hook(str, _structure_str)
    converter.register_structure_hook(Decimal, _structure_decimal)
    converter.register_structure_hook(UUID, _structure_uuid)
    converter.register_structure_hook(Path, _structure_path)
    converter.register_structure_hook_factory(_is_optional, _optional_hook)
    converter.register_structure_hook_factory(attrs.has, _table_hook)
    converter.register_structure_hook_factory(_is_origin(list), _list_hook)
    converter.register_structure_hook_factory(_is_origin(dict), _mapping_hook)
    converter.register_structure_hook_factory(_is_origin(Literal), _literal_hook)
    converter.register_structure_hook_factory(lambda target: hasattr(target, "__metadata__"), _annotated_hook)
    return converter


_CONVERTER = _make_converter()
