"""Messages, parts and calls as the parts of Google's wire.

Media in base64 are `inlineData`. Addresses are `fileData`, which Google fetches. Both need a media type: a data address
has one, and for other addresses the file's ending decides. Uploads to another provider have no part, so a candidate
cannot take them.

Source: Gemini API reference (Part), "Image understanding", "Audio understanding", "File input methods", read 2026-11.
"""

from __future__ import annotations

from pg_trio.domain.chat import Message
from pg_trio.domain.content import Audio, File, Image, NativePart, Part, Refusal, Text
from pg_trio.domain.tools import ToolCall
from pg_trio.providers.native_request import Block, parts_of, read_arguments, read_data_url, read_result, texts_of

SKIP_SIGNATURE = "skip_thought_signature_validator"

# Not the machine's own table (`mimetypes`), because a request must be the same on every machine.
_IMAGES = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "avif": "image/avif",
    "bmp": "image/bmp",
}
# For an image whose address has no known ending. Google only needs the type of some image.
_ANY_IMAGE = "image/jpeg"
_FILES = {
    **_IMAGES,
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "xml": "text/xml",
    "json": "application/json",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "aac": "audio/aac",
    "mp4": "video/mp4",
    "mov": "video/mov",
    "webm": "video/webm",
}


def why_part_unfit(part: Part) -> str | None:
    """The name of the part's content if this wire cannot carry it; None if it can."""
    if isinstance(part, Text | Refusal) or _write_part(part) is not None:
        return None
    return {Audio: "audio", File: "file", Image: "image"}[type(part)]


def write_parts(message: Message) -> list[Block]:
    """The parts that a user's or a model's message adds to its turn. An empty message adds none."""
    parts = [block for part in parts_of(message) if (block := _write_part(part)) is not None]
    return parts + [_write_call(call, number == 0) for number, call in enumerate(message.tool_calls)]


def write_result(message: Message, names: dict[str, str]) -> list[Block]:
    """The parts of a tool's message: its text as an object, then media. `names` has the functions by call id."""
    call_id = message.tool_call_id or ""
    response = read_result("\n".join(texts_of(message)))
    name = names.get(call_id) or message.name or call_id
    media = [part for part in parts_of(message) if not isinstance(part, Text | Refusal)]
    return [
        {"functionResponse": {"id": call_id, "name": name, "response": response}},
        *[block for part in media if (block := _write_part(part)) is not None],
    ]


def is_result(part: Block) -> bool:
    """Whether a part is a function's result."""
    return "functionResponse" in part


def _write_part(part: Part) -> Block | None:
    match part:
        case Text() | Refusal():
            return {"text": part.text}
        case Image():
            return _write_image(part.url)
        case Audio():
            return _inline(f"audio/{part.format}", part.data)
        case File():
            return _write_file(part)
        case NativePart():
            # `parts_of` has replaced it.
            return None


def _write_image(url: str) -> Block | None:
    given = read_data_url(url)
    if given is None:
        return {"fileData": {"mimeType": _IMAGES.get(_ending(url), _ANY_IMAGE), "fileUri": url}}
    return _inline(*given) if given[0].startswith("image/") else None


def _write_file(file: File) -> Block | None:
    if not file.data:
        return None
    media_type, data = read_data_url(file.data) or (_FILES.get(_ending(file.name or ""), ""), file.data)
    return _inline(media_type, data) if media_type else None


def _inline(media_type: str, data: str) -> Block | None:
    return {"inlineData": {"mimeType": media_type, "data": data}} if data else None


def _ending(name: str) -> str:
    path = name.partition("?")[0].partition("#")[0]
    return path.rpartition("/")[2].rpartition(".")[2].lower()


def _write_call(call: ToolCall, is_first: bool) -> Block:
    wire: Block = {"functionCall": {"id": call.id, "name": call.name, "args": read_arguments(call.arguments)}}
    signature = call.signature or (SKIP_SIGNATURE if is_first else None)
    return wire if signature is None else {**wire, "thoughtSignature": signature}
