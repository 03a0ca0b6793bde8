"""A hook of mkdocs.yml: fills `decisions/` with its pages, and puts pages that the navigation lacks at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

MORE = "More"


def on_config(config: Any) -> Any:
    """Called by mkdocs before it reads the pages."""
    config.nav = complete(config.nav, Path(config.docs_dir))
    return config


def complete(nav: list[Any], docs: Path) -> list[Any]:
    """The navigation with an entry for every page."""
    pages = sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
    filled = [_fill(item, pages) for item in nav]
    named = set(_pages_of(filled))
    left = [page for page in pages if page not in named]
    return [*filled, {MORE: left}] if left else filled


def _fill(item: Any, pages: list[str]) -> Any:
    if isinstance(item, list):
        return [_fill(one, pages) for one in item]
    if isinstance(item, dict):
        return {title: _fill(one, pages) for title, one in item.items()}
    return [page for page in pages if page.startswith(item)] if item.endswith("/") else item


def _pages_of(item: Any) -> list[str]:
    if isinstance(item, str):
        return [item]
    items = item.values() if isinstance(item, dict) else item
    return [page for one in items for page in _pages_of(one)]
