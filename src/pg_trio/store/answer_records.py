"""The bytes of a kept answer's file. What is read is checked: a file may be cut, damaged or another program's.

    state   44 bytes, rewritten once, at the answer's end: see _STATE
    record  length (4), CRC-32 of what follows (4), kind (1), payload. The first record is the head.

Little endian. A record that is not complete yet is no damage: its writer may be about to write the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any
from uuid import UUID
from zlib import crc32

import orjson
from attrs import frozen

from pg_trio.domain.kept_answer import ANSWER_ENDS, AnswerEnd, AnswerHead, AnswerStart

MAGIC = b"PGTRANS1"
# Magic, how it ended (0: it runs), until when it is kept (Unix seconds), its parts, the file's size, the worker's id;
# then the CRC-32 of these.
_STATE = struct.Struct("<8sB3xdIQ8sI")
STATE_BYTES = _STATE.size
_RECORD = struct.Struct("<II")
RECORD_BYTES = _RECORD.size + 1
HEAD, START, PARTS = b"H", b"S", b"P"
# 64 MiB: the largest `resume_bytes`.
MAX_RECORD_BYTES = 64 * 1024 * 1024
WORKER_ID_BYTES = 8


class DamagedAnswer(Exception):
    """The file is not what a writer of ours has written."""


@frozen(slots=True)
class AnswerState:
    """The beginning of a file. `ended` is None while the answer runs."""

    worker: bytes
    ended: AnswerEnd | None = None
    kept_until: float = 0.0
    parts: int = 0
    size: int = 0

    def to_bytes(self) -> bytes:
        """STATE_BYTES."""
        code = 0 if self.ended is None else ANSWER_ENDS.index(self.ended) + 1
        fields = _STATE.pack(MAGIC, code, self.kept_until, self.parts, self.size, self.worker, 0)
        return fields[:-4] + struct.pack("<I", crc32(fields[:-4]))

    @classmethod
    def read(cls, data: bytes) -> AnswerState:
        """Raises DamagedAnswer."""
        if len(data) != STATE_BYTES:
            raise DamagedAnswer("its beginning is missing")
        magic, code, kept_until, parts, size, worker, check = _STATE.unpack(data)
        if magic != MAGIC or check != crc32(data[:-4]) or code > len(ANSWER_ENDS):
            raise DamagedAnswer("its beginning is not a kept answer's")
        return cls(worker, ANSWER_ENDS[code - 1] if code else None, kept_until, parts, size)


def pack_record(kind: bytes, payload: bytes) -> bytes:
    """One record."""
    return _RECORD.pack(len(payload), crc32(payload, crc32(kind))) + kind + payload


def pack_parts(parts: Sequence[bytes]) -> bytes:
    """The record of parts that came together: their number, their lengths, and themselves."""
    count = len(parts)
    return pack_record(PARTS, struct.pack(f"<{count + 1}I", count, *map(len, parts)) + b"".join(parts))


def unpack_parts(payload: bytes) -> list[bytes]:
    """The parts of a record. Raises DamagedAnswer."""
    count = int.from_bytes(payload[:4], "little")
    at = 4 * (count + 1)
    if not count or at > len(payload):
        raise DamagedAnswer("a record has an impossible number of parts")
    parts = []
    for size in struct.unpack_from(f"<{count}I", payload, 4):
        parts.append(payload[at : at + size])
        at += size
    if at != len(payload):
        raise DamagedAnswer("a record has parts of impossible lengths")
    return parts


def unpack_record(data: bytes | bytearray, at: int) -> tuple[bytes, bytes, int] | None:
    """The kind and payload of the record at that place, and where the next one begins; None if it is incomplete.

    Raises DamagedAnswer.
    """
    begins = at + RECORD_BYTES
    if len(data) < begins:
        return None
    size, check = _RECORD.unpack_from(data, at)
    if size > MAX_RECORD_BYTES:
        raise DamagedAnswer("a record has an impossible length")
    ends = begins + size
    if len(data) < ends:
        return None
    kind, payload = bytes(data[begins - 1 : begins]), bytes(data[begins:ends])
    if check != crc32(payload, crc32(kind)):
        raise DamagedAnswer("a record's checksum is wrong")
    return kind, payload, ends


def pack_head(head: AnswerHead) -> bytes:
    """The record of a head."""
    digest = head.body_digest
    fields = {
        "request_id": str(head.request_id),
        "endpoint": str(head.endpoint),
        "slug": head.slug,
        "surface": head.surface,
        "form": head.form,
        "at": head.at,
        "body_digest": None if digest is None else digest.hex(),
        "ends_by": head.ends_by,
    }
    return pack_record(HEAD, orjson.dumps(fields))


def read_head(payload: bytes) -> AnswerHead:
    """The head of a record. Raises DamagedAnswer."""
    try:
        fields: dict[str, Any] = orjson.loads(payload)
        digest = fields["body_digest"]
        return AnswerHead(
            UUID(fields["request_id"]),
            UUID(fields["endpoint"]),
            str(fields["slug"]),
            str(fields["surface"]),
            str(fields["form"]),
            float(fields["at"]),
            None if digest is None else bytes.fromhex(digest),
            float(fields["ends_by"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedAnswer("its head cannot be read") from error


def pack_start(start: AnswerStart) -> bytes:
    """The record of a start."""
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in start.fields]
    said = {
        "status": start.status,
        "fields": fields,
        "cut_end": start.cut_end.decode("latin-1"),
        "keep_alive": start.keep_alive.decode("latin-1"),
    }
    return pack_record(START, orjson.dumps(said))


def read_start(payload: bytes) -> AnswerStart:
    """The start of a record. Raises DamagedAnswer."""
    try:
        read: dict[str, Any] = orjson.loads(payload)
        fields = tuple([(name.encode("latin-1"), value.encode("latin-1")) for name, value in read["fields"]])
        cut_end, keep_alive = read["cut_end"].encode("latin-1"), read["keep_alive"].encode("latin-1")
        return AnswerStart(int(read["status"]), fields, cut_end, keep_alive)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedAnswer("its start cannot be read") from error
