"""What a server may do with requests by their heads alone, before the application is called."""

from __future__ import annotations

from collections.abc import Iterable

from pg_trio.surfaces import Surface, SurfaceTable
from pg_trio.web.cors import CorsTable


class FrontDoor:
    """Which requests a server may refuse in the application's place, in which surface's shape, and which may wait."""

    def __init__(self, surfaces: SurfaceTable, cors: CorsTable | None) -> None:
        self.surfaces = surfaces
        self._cors = cors

    def find_refusal(
        self, method: str, path: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> tuple[Surface, bytes] | None:
        """The surface whose error such a request gets, and the header lines that its answer has for browsers; None if
        no surface matches the method and the raw path."""
        found = self.surfaces.find(method, path)
        if found is None:
            return None
        surface, route = found
        if not self._cors:
            return surface, b""
        # A second field makes it an origin that is listed nowhere.
        origins = [value for name, value in headers if name == b"origin"]
        return surface, self._cors.fields_of(route.project, b"\0".join(origins) if origins else None)

    def may_wait(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether such a request may wait before the application has it: not where its client limits its time, because
        it would not be answered when that is over."""
        return all(name != b"x-pg-timeout-ms" for name, _ in headers)
