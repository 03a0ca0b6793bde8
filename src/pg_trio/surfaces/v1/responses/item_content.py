"""The content of an input item: text, or content parts as the domain has them. The rules are those of input_items.py.

Source: OpenAI's openapi.yaml, InputContent, OutputContent and FunctionCallOutputItemParam, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from pg_trio.domain.chat import Json, Role
from pg_trio.domain.content import Audio, File, Image, Part, Refusal, Text
from pg_trio.errors import BadRequest
from pg_trio.surfaces.reading.field_checks import (
    BASE64,
    FILE_ID,
    WORD,
    check_file_data,
    check_image_address,
    check_object,
    check_string,
)

Content: TypeAlias = str | tuple[Part, ...]


def read_item_content(content: Json, role: Role, path: str) -> Content:
    """The content of a message or of a function's output. Adjacent texts are joined. Raises: BadRequest."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRequest(f"{path}: must be a string or a list of parts.")
    if not content:
        raise BadRequest(f"{path}: must not be an empty list.")
    return join_texts([_read_part(part, role, f"{path}[{index}]") for index, part in enumerate(content)])


def join_texts(parts: list[Part]) -> Content:
    """The parts with adjacent texts joined, without a separator; a string if one text is all there is."""
    joined: list[Part] = []
    texts: list[str] = []
    for part in parts:
        if isinstance(part, Text):
            texts.append(part.text)
            continue
        if texts:
            joined.append(Text("".join(texts)))
            texts = []
        joined.append(part)
    if texts and not joined:
        return "".join(texts)
    return (*joined, Text("".join(texts))) if texts else tuple(joined)


def _read_part(given: Json, role: Role, path: str) -> Part:
    part = check_object(given, path)
    kind = part.get("type")
    if not isinstance(kind, str):
        raise BadRequest(f"{path}.type: must be a string.")
    readers = _ASSISTANT_PARTS if role == "assistant" else _PARTS
    read = readers.get(kind)
    if read is None:
        raise BadRequest(f"{path}.type: must be one of {', '.join(readers)}.")
    return read(part, path)


def _read_text(part: dict[str, Json], path: str) -> Text:
    return Text(_required_string(part, "text", path))


def _read_refusal(part: dict[str, Json], path: str) -> Refusal:
    return Refusal(_required_string(part, "refusal", path))


def _required_string(part: dict[str, Json], field: str, path: str) -> str:
    text = part.get(field)
    if not isinstance(text, str):
        raise BadRequest(f"{path}.{field}: must be a string.")
    return text


def _read_image(part: dict[str, Json], path: str) -> Image:
    url, detail = part.get("image_url"), part.get("detail")
    if url is None and part.get("file_id") is not None:
        raise BadRequest(f"{path}.file_id: is not supported; send the image in image_url.")
    if detail is not None:
        check_string(detail, WORD, f"{path}.detail")
    return Image(check_image_address(url, f"{path}.image_url"), detail)


def _read_file(part: dict[str, Json], path: str) -> File:
    file_id, data, name = part.get("file_id"), part.get("file_data"), part.get("filename")
    if file_id is None and data is None:
        if part.get("file_url") is not None:
            raise BadRequest(f"{path}.file_url: is not supported; send the file in file_data.")
        raise BadRequest(f"{path}: must have file_id or file_data.")
    if file_id is not None:
        check_string(file_id, FILE_ID, f"{path}.file_id")
    if data is not None:
        check_file_data(data, f"{path}.file_data")
    if name is not None and not isinstance(name, str):
        raise BadRequest(f"{path}.filename: must be a string.")
    return File(file_id, data, name)


def _read_audio(part: dict[str, Json], path: str) -> Audio:
    audio = check_object(part.get("input_audio"), f"{path}.input_audio")
    check_string(audio.get("data"), BASE64, f"{path}.input_audio.data")
    check_string(audio.get("format"), WORD, f"{path}.input_audio.format")
    return Audio(audio["data"], audio["format"])


_Reader: TypeAlias = Callable[[dict[str, Json], str], Part]
_PARTS: dict[str, _Reader] = {
    "input_text": _read_text,
    "input_image": _read_image,
    "input_file": _read_file,
    "input_audio": _read_audio,
    # Clients that keep a conversation send an answer's parts back in other roles, too.
    "output_text": _read_text,
}
_ASSISTANT_PARTS: dict[str, _Reader] = {
    "output_text": _read_text,
    "refusal": _read_refusal,
    "input_text": _read_text,
    "input_image": _read_image,
    "input_file": _read_file,
}
