"""Find the surface of a request: by the path's first segment, then by the surfaces' own `match`."""

from __future__ import annotations

from collections.abc import Iterable

from pg_trio.surfaces.contract import MatchedRoute, Surface


class SurfaceTable:
    """The surfaces of a gateway. If two match the same path, the first in the list answers."""

    def __init__(self, surfaces: Iterable[Surface]) -> None:
        by_root: dict[bytes, list[Surface]] = {}
        self.surfaces = tuple(surfaces)
        for surface in self.surfaces:
            for root in surface.roots:
                by_root.setdefault(root, []).append(surface)
        self._by_root = by_root

    def find(self, method: str, path: bytes) -> tuple[Surface, MatchedRoute] | None:
        """The surface of a request, and its route; None if no surface matches.

        `path` is the path as it was sent, without a query. A path with an encoded byte or an empty segment matches no
        surface, because a proxy in front of the gateway might read it differently.
        """
        surfaces = self._by_root.get(path[1 : path.find(b"/", 1)])
        if surfaces is None or not is_plain_path(path):
            return None
        for surface in surfaces:
            route = surface.match(method, path)
            if route is not None:
                return surface, route
        return None


def is_plain_path(path: bytes) -> bool:
    """Whether a path is unambiguous: ASCII, no encoded byte, no empty segment."""
    return b"%" not in path and b"//" not in path and path.isascii()
