"""The bodies of a request and its answer for the log, if an endpoint keeps bodies. Bounded, plain JSON, synchronous.

Rules:
1. `full` keeps the texts as the guardrails left them; `redacted` keeps the shape, with a length in place of each text.
2. A request that has not passed the guardrails is kept redacted under `full` too, because text that they would have
   masked or refused must not reach the log.
3. Texts take from one budget of characters, in their order. A text that does not fit is cut and says by how much. Later
   texts are left out, and the body has `"cut": true`. So the budget limits the size and the work.
4. Base64 data (images, audio, files) is replaced by its length under `full` too.
5. Text with the shape of a credential is masked, because people paste keys into chats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from attrs import define

from pg_trio.domain.chat import Json, JsonObject, Message, ToolCall
from pg_trio.domain.client_request import ClientReply, ClientRequest
from pg_trio.domain.content import Part
from pg_trio.domain.embeddings import EmbeddingInput, EmbeddingReply, EmbeddingRequest
from pg_trio.domain.message_json import choice_to_json, part_to_json, tool_to_json
from pg_trio.domain.secret import mask_credentials

LogBodies: TypeAlias = Literal["full", "redacted", "none"]

# The cost of every object besides its texts, so that a thousand empty messages use up the budget, too.
_OBJECT_CHARS = 16
_NUMBER_CHARS = 4
# A secret at the cut is still recognised if this much more text is scanned.
_MARGIN_CHARS = 256
_DATA_FIELDS = frozenset({"data", "file_data"})


@define
class BodyBudget:
    """The state of building one body: the characters left, and whether texts are shown."""

    characters_left: int
    shows_texts: bool

    def describe_request(self, request: ClientRequest) -> JsonObject:
        """The request after `read_request` or the guardrails, in the client's own fields."""
        if isinstance(request, EmbeddingRequest):
            return self._describe_embeddings(request)
        body: dict[str, Json] = {
            "messages": [self._describe_message(message) for message in request.messages if self.characters_left > 0]
        }
        if request.tools:
            tools = [tool_to_json(tool) for tool in request.tools]
            body["tools"] = self._describe_json(tools) if self.shows_texts else len(tools)
        if request.tool_choice is not None and self.shows_texts:
            body["tool_choice"] = self._describe_json(choice_to_json(request.tool_choice))
        options = request.options
        if options.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = options.parallel_tool_calls
        if options.response_format is not None and self.shows_texts:
            body["response_format"] = self._describe_json(options.response_format.raw)
        if options.reasoning_effort is not None:
            body["reasoning_effort"] = self._show(options.reasoning_effort)
        if request.stream:
            body["stream"] = True
        if request.session_id is not None:
            body["session_id"] = str(request.session_id)
        return self._mark_cut(body)

    def describe_reply(self, reply: ClientReply) -> JsonObject:
        """The answer, or its received part. Usage and model have their own columns; vectors are counted."""
        if isinstance(reply, EmbeddingReply):
            return {"vectors": len(reply.vectors), "dimensions": reply.dimensions}
        body: dict[str, Json] = {}
        if reply.content is not None:
            body["content"] = self._show(reply.content)
        if reply.tool_calls:
            body["tool_calls"] = self._describe_calls(reply.tool_calls)
        body["finish_reason"] = reply.finish_reason
        return self._mark_cut(body)

    def _mark_cut(self, body: dict[str, Json]) -> JsonObject:
        if self.characters_left <= 0:
            body["cut"] = True
        return body

    def _describe_embeddings(self, request: EmbeddingRequest) -> JsonObject:
        body: dict[str, Json] = {
            "input": [self._describe_input(each) for each in request.inputs if self.characters_left > 0]
        }
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if request.input_type is not None:
            body["input_type"] = request.input_type
        if request.user is not None:
            body["user"] = self._show(request.user)
        return self._mark_cut(body)

    def _describe_input(self, each: EmbeddingInput) -> str:
        self.characters_left -= _OBJECT_CHARS
        # Tokens are numbers that say nothing to a reader.
        return self._show(each) if isinstance(each, str) else f"[{len(each)} tokens]"

    def _describe_message(self, message: Message) -> JsonObject:
        self.characters_left -= _OBJECT_CHARS
        shown: dict[str, Json] = {"role": message.role}
        if message.name is not None:
            shown["name"] = self._show(message.name)
        if isinstance(message.content, str):
            shown["content"] = self._show(message.content)
        elif message.content is not None:
            shown["content"] = [self._describe_part(part) for part in message.content if self.characters_left > 0]
        if message.tool_calls:
            shown["tool_calls"] = self._describe_calls(message.tool_calls)
        if message.tool_call_id is not None:
            shown["tool_call_id"] = self._show(message.tool_call_id)
        return shown

    def _describe_part(self, part: Part) -> JsonObject:
        return {
            key: value if key == "type" else self._describe_field(key, value)
            for key, value in part_to_json(part).items()
        }

    def _describe_field(self, name: str, value: Json) -> Json:
        return _length_of(value) if name in _DATA_FIELDS else self._describe_json(value)

    def _describe_calls(self, calls: Sequence[ToolCall]) -> list[Json]:
        return [
            {"id": self._show(call.id), "name": self._show(call.name), "arguments": self._show(call.arguments)}
            for call in calls
            if self.characters_left > 0
        ]

    def _describe_json(self, value: Json) -> Json:
        """A JSON value of any shape; its depth is bounded by `max_json_depth`."""
        if isinstance(value, str):
            return self._show(value)
        if isinstance(value, dict):
            self.characters_left -= _OBJECT_CHARS
            return {
                self._show_key(key): self._describe_field(key, item)
                for key, item in value.items()
                if self.characters_left > 0
            }
        if isinstance(value, list | tuple):
            return [self._describe_json(item) for item in value if self.characters_left > 0]
        self.characters_left -= _NUMBER_CHARS
        return value

    def _show_key(self, key: str) -> str:
        # If texts are not shown, only objects with the format's own keys are described.
        return self._show(key) if self.shows_texts else key

    def _show(self, text: str) -> str:
        if not self.shows_texts or text.startswith("data:"):
            self.characters_left -= _OBJECT_CHARS
            return _length_of(text)
        left = max(0, self.characters_left)
        self.characters_left -= len(text)
        if len(text) <= left:
            return mask_credentials(text)
        kept = mask_credentials(text[: left + _MARGIN_CHARS])[:left]
        return f"{kept}… [{len(text) - left} characters cut]"


def _length_of(value: Json) -> str:
    return f"[{len(value)} characters]" if isinstance(value, str) else "[no text]"
