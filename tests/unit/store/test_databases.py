"""What is stored is backed up and examined: every schema of the room is in the one list."""

from __future__ import annotations

import importlib
import pkgutil

from pg_trio import store
from pg_trio.store.databases import DATABASES


def test_every_schema_is_listed() -> None:
    modules = [
        importlib.import_module(f"pg_trio.store.{module.name}") for module in pkgutil.iter_modules(store.__path__)
    ]
    defined = {(module.FILE_NAME, module.SCHEMA) for module in modules if module.__name__.endswith("_file")}

    assert {"tokens.db", "log.db"} < {name for name, _ in defined}
    assert defined == {(database.file_name, database.schema) for database in DATABASES}


def test_files_and_kinds_are_told_apart() -> None:
    assert len(DATABASES) == len({database.file_name for database in DATABASES})
    assert len(DATABASES) == len({database.schema.application_id for database in DATABASES})
