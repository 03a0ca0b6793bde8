"""The Gateway API as a surface (docs/api.md): its routes, its requests, its answers, its streams.

gateway_surface.py the surface itself: the steps of the contract and their modules
chat_request.py   turns a body into a `ChatRequest`, or an error that names the wrong part
answers.py        complete answers and failures
stream_writer.py  streamed answers
"""

from pg_trio.surfaces.gateway.gateway_surface import GATEWAY

__all__ = ["GATEWAY"]
