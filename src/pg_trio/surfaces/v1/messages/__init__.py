"""Messages: `POST /api/{uuid}/v1/messages` and `…/messages/count_tokens`, exactly in Anthropic's shapes.

messages_surface.py  the two surfaces: answers, and the estimate of a prompt's tokens
messages_fields.py   turns a body into a `ChatRequest`, or an error that names the wrong field
turns.py             `system` and `messages` as messages, with blocks.py for their content
messages_tools.py    tools and the choice among them
message_answer.py    whole answers, and the objects that streams share with them
message_stream.py    streamed answers, with call_order.py for calls that a provider interleaves
anthropic_errors.py  failures in Anthropic's shape
"""

from pg_trio.surfaces.v1.messages.messages_surface import COUNT_TOKENS, MESSAGES

__all__ = ["COUNT_TOKENS", "MESSAGES"]
