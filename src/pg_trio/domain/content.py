"""Content parts of a message, independent of the wire. Frozen values.

A surface reads a client's parts into these values, and each adapter writes them for its provider. `free_text` is text
that a person may have written: guardrails read it, masks replace it, estimates count it. Base64 data is not free text.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import evolve

from pg_trio.domain.value import value


@value(slots=True)
class Text:
    """A piece of text."""

    text: str

    @property
    def free_text(self) -> str | None:
        return self.text

    def with_free_text(self, text: str) -> Text:
        """The same part with another text."""
        return evolve(self, text=text)


@value(slots=True)
class Refusal:
    """An assistant's refusal, from an earlier turn."""

    text: str

    @property
    def free_text(self) -> str | None:
        return self.text

    def with_free_text(self, text: str) -> Refusal:
        """The same part with another text."""
        return evolve(self, text=text)


@value(slots=True)
class Image:
    """An image: an http(s) address, or a data address in base64. `detail` is OpenAI's word for the resolution.

    The gateway never fetches an address. It passes the address on, or passes over the candidate.
    """

    url: str
    detail: str | None = None

    @property
    def free_text(self) -> str | None:
        return None

    def with_free_text(self, text: str) -> Image:
        """The part itself: it has no text."""
        return self


@value(slots=True)
class Audio:
    """Sound in base64; `format` is `wav`, `mp3`, …"""

    data: str
    format: str

    @property
    def free_text(self) -> str | None:
        return None

    def with_free_text(self, text: str) -> Audio:
        """The part itself: it has no text."""
        return self


@value(slots=True)
class File:
    """A file: the id of an upload to the provider (`id`), or its content (`data`: base64, or a data address)."""

    id: str | None = None
    data: str | None = None
    name: str | None = None

    @property
    def free_text(self) -> str | None:
        return self.name

    def with_free_text(self, text: str) -> File:
        """The same file under another name."""
        return evolve(self, name=text)


Part: TypeAlias = Text | Refusal | Image | Audio | File


def split_data_url(url: str) -> tuple[str, str] | None:
    """(media type, base64 text) of a data address in base64; None for any other address.

    Source: RFC 2397.
    """
    if not url.startswith("data:"):
        return None
    media_type, _, data = url[5:].partition(";base64,")
    return media_type or "application/octet-stream", data
