"""Chat Completions: `POST /api/{uuid}/v1/chat/completions`, exactly in OpenAI's shapes.

chat_surface.py  the surface itself
chat_fields.py   turns a body into a `ChatRequest`, or an error that names the wrong field
typed_fields.py  the types inside its objects
chat_answer.py   whole answers
chat_stream.py   streamed answers
"""

from pg_trio.surfaces.v1.chat.chat_surface import CHAT

__all__ = ["CHAT"]
