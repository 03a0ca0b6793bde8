"""Recorded answers of providers: `tests/recordings/<provider>/<name>.http`.

The first line says where it comes from and when that was read; then a status line, headers, an empty line, the body.
"""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

RECORDINGS = Path(__file__).parents[1] / "recordings"


@frozen
class Recording:
    """An answer as an adapter gets it: header names in lower case, the body as bytes."""

    status: int
    headers: dict[str, str]
    body: bytes


def load_recording(name: str) -> Recording:
    """The recording `<provider>/<name>`."""
    source, _, answer = (RECORDINGS / f"{name}.http").read_bytes().partition(b"\n")
    assert source.startswith(b"# "), f"{name}: the first line names the source"
    head, _, body = answer.partition(b"\n\n")
    status_line, *lines = head.decode("ascii").split("\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Recording(int(status_line.split()[1]), {key.lower(): value for key, value in headers.items()}, body.strip())
