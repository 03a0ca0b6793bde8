"""What a server may do with requests by their heads alone, and how it answers them in the application's place."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from pg_trio.errors import GatewayError
from pg_trio.surfaces import HttpAnswer, Surface, SurfaceTable, fallback_for
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
        return surface, self._cors.fields_of(route.project, _read_origin(headers))

    def render_error(
        self, error: GatewayError, request_id: UUID, method: str, path: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> HttpAnswer:
        """The answer to a request that fails with the server. `path` is as it was sent, perhaps no route at all."""
        found = self.surfaces.find(method, path)
        answer = (fallback_for(path) if found is None else found[0]).render_error(error, request_id)
        project = self._cors.find(path) if self._cors else None
        if project is None or self._cors is None:
            return answer
        return answer.with_fields(self._cors.fields_of(project, _read_origin(headers)))

    def may_wait(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether such a request may wait before the application has it: not where its client limits its time, because
        it would not be answered when that is over."""
        return all(name != b"x-pg-timeout-ms" for name, _ in headers)


def _read_origin(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The field `origin`. A second one makes it an origin that is listed nowhere."""
    origins = [value for name, value in headers if name == b"origin"]
    return b"\0".join(origins) if origins else None
