"""Surfaces: the dialects that clients speak to the gateway. Sans I/O.

    contract.py       what a surface is: match a route, read a request, render an answer, an error, a stream
    registry.py       which surface a request is for
    gateway/          the Gateway API: `POST /api/{uuid}/{slug}` and `POST /api/{uuid}/chat/completions`
    v1/               OpenAI's and Anthropic's own APIs: `POST /api/{uuid}/v1/…`
    reading/          parts of the readers of bodies, shared by the surfaces
    http_answer.py    whole answers, and the header fields that all surfaces have in common
    openai_shapes.py  JSON objects of OpenAI's chat that several surfaces render
    openai_chunks.py  OpenAI's chunks, for every surface that streams them

To add a surface: its file or folder here, a line in SURFACES, its routes in docs/api.md.
"""

from pg_trio.surfaces.contract import MatchedRoute, StreamSummary, StreamWriter, Surface, SurfaceDefaults
from pg_trio.surfaces.gateway import GATEWAY
from pg_trio.surfaces.http_answer import HeaderList, HttpAnswer, Tries
from pg_trio.surfaces.registry import SurfaceTable, is_plain_path
from pg_trio.surfaces.v1.chat import CHAT
from pg_trio.surfaces.v1.embeddings import EMBEDDINGS
from pg_trio.surfaces.v1.messages import COUNT_TOKENS, MESSAGES
from pg_trio.surfaces.v1.responses import RESPONSES
from pg_trio.surfaces.v1.routes import LIST_ACCESS, V1Surface, split_path

SURFACES: tuple[Surface, ...] = (GATEWAY, CHAT, RESPONSES, MESSAGES, COUNT_TOKENS, EMBEDDINGS)

# The surface that renders the error of a request that no surface matches.
FALLBACK: Surface = GATEWAY


def is_v1_route(rest: bytes) -> bool:
    """Whether a surface of `/v1` has this path behind `/api/{uuid}/v1/`."""
    return any(isinstance(surface, V1Surface) and surface.path == rest for surface in SURFACES)


def fallback_for(path: bytes) -> Surface:
    """The surface whose shape the error of a path has that no surface matches. `path` is as it was sent."""
    split = split_path(path)
    if split is None:
        return FALLBACK
    return MESSAGES if split[1].partition(b"/")[0] == MESSAGES.path else CHAT


__all__ = [
    "FALLBACK",
    "LIST_ACCESS",
    "SURFACES",
    "HeaderList",
    "HttpAnswer",
    "MatchedRoute",
    "StreamSummary",
    "StreamWriter",
    "Surface",
    "SurfaceDefaults",
    "SurfaceTable",
    "Tries",
    "V1Surface",
    "fallback_for",
    "is_plain_path",
    "is_v1_route",
]
