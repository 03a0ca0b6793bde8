"""The Gateway API as a surface (docs/api.md): its routes, its requests, its answers, its streams.

surface.py        the surface itself: each step of the contract, and where it is done
read_request/     a body becomes a `ChatRequest`, or an error that says which part of it is wrong
answers.py        whole answers and failures
stream_writer.py  streamed answers
"""

from pg_trio.surfaces.gateway.surface import GATEWAY

__all__ = ["GATEWAY"]
