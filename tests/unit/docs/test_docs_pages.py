"""The hook of the documentation's site: every page is in the navigation."""

from __future__ import annotations

from pathlib import Path

from scripts.docs_pages import complete


def make_pages(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("# Page\n", encoding="utf-8")
    return folder


def test_folder_is_filled_in_order(tmp_path: Path) -> None:
    docs = make_pages(tmp_path, "index.md", "decisions/002-b.md", "decisions/001-a.md")

    nav = complete([{"Home": "index.md"}, {"More to read": [{"Decisions": "decisions/"}]}], docs)

    decisions = {"Decisions": ["decisions/001-a.md", "decisions/002-b.md"]}
    assert [{"Home": "index.md"}, {"More to read": [decisions]}] == nav


def test_unnamed_page_is_at_the_end(tmp_path: Path) -> None:
    docs = make_pages(tmp_path, "index.md", "metrics.md")

    assert [{"Home": "index.md"}, {"More": ["metrics.md"]}] == complete([{"Home": "index.md"}], docs)
