"""The origins from which browsers may call a project (`cors_origins`).

An entry is `https://app.example.com`, `https://*.example.com` (one label or more), or `*` alone. Scheme and port are
exact. `null` never matches: any page can have it.

Source: Fetch standard, "HTTP-origin"; RFC 6454, section 6.2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import field, frozen

ANY = "*"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PATTERN = re.compile(
    rf"(?P<scheme>[a-z][a-z0-9+.-]{{0,31}})://(?P<star>\*\.)?(?P<host>{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?P<port>:\d{{1,5}})?"
)


@frozen(slots=True)
class AllowedOrigins:
    """The origins of one project. `allows` knows them."""

    entries: tuple[str, ...]
    _known: re.Pattern[str] = field(init=False, repr=False, eq=False)

    @_known.default
    def _compile(self) -> re.Pattern[str]:
        return re.compile("|".join(_compile_entry(entry) for entry in self.entries if entry != ANY) or r"(?!)")

    @property
    def allows_any(self) -> bool:
        return self.entries == (ANY,)

    def allows(self, origin: str) -> bool:
        """Whether a page of this origin may call."""
        return origin != "null" and (self.allows_any or self._known.fullmatch(origin) is not None)


def check_origins(entries: Sequence[str]) -> None:
    """Return if these can be a project's origins. Raises: ValueError that says which cannot."""
    for entry in entries:
        if entry == ANY:
            if len(entries) > 1:
                raise ValueError('"*" only on its own')
        elif _PATTERN.fullmatch(entry) is None:
            raise ValueError(f'"{entry[:100]}" is no origin such as https://app.example.com or https://*.example.com')


def _compile_entry(entry: str) -> str:
    found = _PATTERN.fullmatch(entry)
    assert found is not None, entry
    star = rf"(?:{_LABEL}\.)+" if found["star"] else ""
    return f"{re.escape(found['scheme'])}://{star}{re.escape(found['host'])}{re.escape(found['port'] or '')}"
