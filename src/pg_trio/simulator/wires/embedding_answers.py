"""Answers with vectors, on the wires that have embeddings. Failures look the same as in a chat.

Sources: OpenAI's API reference, "The embedding object"; Gemini API reference, batchEmbedContents; Cohere API reference,
"Embed" (v2), 2026-11.
"""

from __future__ import annotations

import struct
from base64 import b64encode

from pg_trio.domain.json_value import Json
from pg_trio.simulator.chat_completion import Completion
from pg_trio.simulator.wires.cohere import CohereWire
from pg_trio.simulator.wires.google import GoogleWire
from pg_trio.simulator.wires.openai import OpenAIWire


class OpenAIEmbeddingsWire(OpenAIWire):
    """OpenAI's list of embeddings."""

    def plain_object(self, completion: Completion) -> dict[str, Json]:
        """The answer in one body. A meaningless field holds the filling of a huge answer."""
        answer: dict[str, Json] = {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _encode(vector, completion)}
                for index, vector in enumerate(completion.vectors)
            ],
            "model": completion.model,
            "id": completion.text or completion.number,
        }
        if completion.usage is not None:
            tokens = completion.usage.prompt_tokens
            answer["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return answer

    def hollow_object(self, completion: Completion) -> dict[str, Json]:
        """The list without its data."""
        data = self.plain_object(completion)
        del data["data"]
        return data


class CohereEmbeddingsWire(CohereWire):
    """Cohere's embeddings by type."""

    def plain_object(self, completion: Completion) -> dict[str, Json]:
        """The answer in one body."""
        meta: dict[str, Json] = {"api_version": {"version": "2"}}
        if completion.usage is not None:
            meta["billed_units"] = {"input_tokens": completion.usage.prompt_tokens}
        return {
            "id": completion.text or completion.number,
            "embeddings": {"float": [list(vector) for vector in completion.vectors]},
            "texts": [],
            "meta": meta,
            "response_type": "embeddings_by_type",
        }

    def hollow_object(self, completion: Completion) -> dict[str, Json]:
        """The answer without its embeddings."""
        data = self.plain_object(completion)
        del data["embeddings"]
        return data


class GoogleEmbeddingsWire(GoogleWire):
    """Google's embeddings, in the order of their requests."""

    def plain_object(self, completion: Completion) -> dict[str, Json]:
        """The answer in one body."""
        answer: dict[str, Json] = {"embeddings": [{"values": list(vector)} for vector in completion.vectors]}
        if completion.usage is not None:
            answer["usageMetadata"] = {"promptTokenCount": completion.usage.prompt_tokens}
        answer["responseId"] = completion.text or completion.number
        return answer

    def hollow_object(self, completion: Completion) -> dict[str, Json]:
        """The answer without its embeddings."""
        data = self.plain_object(completion)
        del data["embeddings"]
        return data


def _encode(vector: tuple[float, ...], completion: Completion) -> Json:
    if not completion.in_base64:
        return list(vector)
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
