"""Content parts of a message, independent of the wire. Frozen values.

A surface reads a client's parts into these values, and each adapter writes them for its provider. `free_text` is text
that a person may have written: guardrails read it, masks replace it, estimates count it. Base64 data is not free text.
`native` has the further fields of the client's block, in the terms of its own wire (domain.native_fields).
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import evolve

from pg_trio.domain.json_value import JsonObject
from pg_trio.domain.native_fields import native_texts
from pg_trio.domain.value import value


@value(slots=True)
class Text:
    """A piece of text."""

    text: str
    native: JsonObject | None = None

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
    native: JsonObject | None = None

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
    native: JsonObject | None = None

    @property
    def free_text(self) -> str | None:
        return self.name

    def with_free_text(self, text: str) -> File:
        """The same file under another name."""
        return evolve(self, name=text)


@value(slots=True)
class NativePart:
    """A block that only the wire of `raw` (Anthropic's) has.

    `others` are the parts that other wires are sent in its place. None: they have none, so that a candidate of another
    wire cannot take the request.
    """

    raw: JsonObject
    others: tuple[Text | Image, ...] | None = None

    @property
    def kind(self) -> str:
        """The block's type."""
        return str(self.raw["type"])

    @property
    def free_text(self) -> str | None:
        return None

    def with_free_text(self, text: str) -> NativePart:
        """The part itself: its texts are in `raw`."""
        return self


Part: TypeAlias = Text | Refusal | Image | Audio | File | NativePart


def texts_of_parts(parts: tuple[Part, ...]) -> list[str]:
    """Every piece of free text in the parts. Adjacent texts are one piece, because a model reads them as one."""
    texts: list[str] = []
    run: list[str] = []
    for part in parts:
        if isinstance(part, Text):
            run.append(part.text)
        else:
            if run:
                texts.append("".join(run))
                run = []
            if (text := part.free_text) is not None:
                texts.append(text)
        texts += native_texts_of(part)
    return [*texts, "".join(run)] if run else texts


def native_texts_of(part: Part) -> list[str]:
    """The client's texts in the part's native fields."""
    if isinstance(part, NativePart):
        return native_texts(part.raw)
    fields = part.native if isinstance(part, Text | Image | File) else None
    return [] if fields is None else native_texts(fields)


def parts_for_others(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The parts as every wire but the client's own is sent them. A block without a counterpart becomes its texts."""
    if not any(isinstance(part, NativePart) for part in parts):
        return parts
    carried: list[Part] = []
    for part in parts:
        if isinstance(part, NativePart):
            carried += (Text("\n".join(native_texts(part.raw))),) if part.others is None else part.others
        else:
            carried.append(part)
    return tuple(carried)


def split_data_url(url: str) -> tuple[str, str] | None:
    """(media type, base64 text) of a data address in base64; None for any other address.

    Source: RFC 2397.
    """
    if not url.startswith("data:"):
        return None
    media_type, _, data = url[5:].partition(";base64,")
    return media_type or "application/octet-stream", data
