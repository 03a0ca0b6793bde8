"""The wheel: it has every file of the package, and what is installed from it serves the pages."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest
import trio

from tests.deploy.deploy_tools import ROOT, run_tool
from tests.support.processes import start
from tests.support.wire import get, send_raw

pytestmark = pytest.mark.slow

SOURCE = ROOT / "src"
LEFT_OUT = {"__pycache__"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run_tool(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    [made] = folder.glob("*.whl")
    return made


def test_wheel_has_every_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    there = {
        path.relative_to(SOURCE).as_posix()
        for path in (SOURCE / "pg_trio").rglob("*")
        if path.is_file() and not LEFT_OUT & set(path.parts)
    }

    assert there == packed
    assert {
        f"pg_trio/web/admin/{name}" for name in ("templates/page.html", "static/pages.css", "static/uplot.LICENSE")
    } <= packed


async def test_wheel_serves_the_pages(nursery: trio.Nursery, wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    command = [sys.executable, "-m", "pg_trio", "serve", "--demo"]
    ports = ["--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0"]
    served = await start(nursery, [*command, *ports], {"PYTHONPATH": str(tmp_path)})
    admin = int((await served.wait_output(r"http://127\.0\.0\.1:(\d+)/login"))[1])

    page = await send_raw(admin, get("/login"))
    style = await send_raw(admin, get("/static/pages.css"))
    status = await served.stop()

    assert [200, 200, 0] == [page.status, style.status, status]
