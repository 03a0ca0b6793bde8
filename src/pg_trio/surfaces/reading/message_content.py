"""The content of a message: text, or content parts as the domain has them. The rules are those of chat_request.py."""

from __future__ import annotations

from collections.abc import Callable

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


class _Run:
    """Adjacent texts of one kind. They are joined once, at the end."""

    __slots__ = ("kind", "texts")

    def __init__(self, kind: type[Text | Refusal], text: str) -> None:
        self.kind = kind
        self.texts = [text]


def read_content(content: Json, role: Role, path: str) -> str | tuple[Part, ...] | None:
    """The content of a message of that role. Raises: BadRequest."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRequest(f"{path}: must be a string or a list of parts.")
    if not content:
        raise BadRequest(f"{path}: must not be an empty list.")
    parts: list[Part | _Run] = []
    for index, part in enumerate(content):
        _add_part(parts, _read_part(part, role, f"{path}[{index}]"))
    return tuple([part.kind("".join(part.texts)) if isinstance(part, _Run) else part for part in parts])


def _add_part(parts: list[Part | _Run], part: Part) -> None:
    if not isinstance(part, Text | Refusal):
        parts.append(part)
        return
    last = parts[-1] if parts else None
    if isinstance(last, _Run) and last.kind is type(part):
        last.texts.append(part.text)
    else:
        parts.append(_Run(type(part), part.text))


def _read_part(part: Json, role: Role, path: str) -> Part:
    part_type = _read_part_type(part, role, path)
    kind = _TEXT_KINDS.get(part_type)
    field = f"{path}.{part_type}"
    if kind is None:
        return _MEDIA[part_type](check_object(part.get(part_type), field), field)
    text = part.get(part_type)
    if type(text) is not str:
        raise BadRequest(f"{field}: must be a string.")
    return kind(text)


def _read_part_type(part: Json, role: Role, path: str) -> str:
    if type(part) is not dict:
        raise BadRequest(f"{path}: must be an object.")
    part_type = part.get("type")
    if type(part_type) is not str:
        raise BadRequest(f"{path}.type: must be a string.")
    if part_type == "text" or part_type in _MEDIA or (part_type == "refusal" and role == "assistant"):
        return part_type
    known = ["text", *_MEDIA, *(["refusal"] if role == "assistant" else [])]
    raise BadRequest(f"{path}.type: must be one of {', '.join(known)}.")


def _read_image(image: dict[str, Json], path: str) -> Image:
    url, detail = image.get("url"), image.get("detail")
    url = check_image_address(url, f"{path}.url")
    if detail is not None:
        check_string(detail, WORD, f"{path}.detail")
    return Image(url, detail)


def _read_audio(audio: dict[str, Json], path: str) -> Audio:
    check_string(audio.get("data"), BASE64, f"{path}.data")
    check_string(audio.get("format"), WORD, f"{path}.format")
    return Audio(audio["data"], audio["format"])


def _read_file(file: dict[str, Json], path: str) -> File:
    file_id, data, name = file.get("file_id"), file.get("file_data"), file.get("filename")
    if file_id is None and data is None:
        raise BadRequest(f"{path}: must have file_id or file_data.")
    if file_id is not None:
        check_string(file_id, FILE_ID, f"{path}.file_id")
    if data is not None:
        check_file_data(data, f"{path}.file_data")
    if name is not None and not isinstance(name, str):
        raise BadRequest(f"{path}.filename: must be a string.")
    return File(file_id, data, name)


# The parts that are not text, by type. Each has its own object, with only the fields that OpenAI documents.
_MEDIA: dict[str, Callable[[dict[str, Json], str], Part]] = {
    "image_url": _read_image,
    "input_audio": _read_audio,
    "file": _read_file,
}
# The parts that are text, by type. Their field has the same name as the type.
_TEXT_KINDS: dict[str, type[Text | Refusal]] = {"text": Text, "refusal": Refusal}
