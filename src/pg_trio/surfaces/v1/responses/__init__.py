"""The Responses API: `POST /api/{uuid}/v1/responses`, exactly in OpenAI's shapes.

responses_surface.py   the surface itself
response_request.py    turns a body into a `ChatRequest`, or an error that names the wrong field
input_items.py         … its items, with item_content.py for their parts
function_tools.py      … its functions, and the choice among them
answer_settings.py     … how to answer
response_answer.py     whole answers and failures
response_object.py     the `response` object, with output_items.py for its output
response_stream.py     streamed answers, with open_items.py for items that grow
response_id.py         ids, which name the session and its turn
token_logprobs.py      log probabilities of tokens
sealed_reasoning.py    `encrypted_content` of reasoning items
"""

from pg_trio.surfaces.v1.responses.responses_surface import RESPONSES

__all__ = ["RESPONSES"]
