"""OpenAI's Embeddings as a surface (docs/surfaces.md): its requests and answers.

surface.py        the surface itself: the steps of the contract and their modules
read_request.py   turns a body into an `EmbeddingRequest`, or an error that names the wrong part
answers.py        answers with vectors
"""

from pg_trio.surfaces.v1.embeddings.surface import EMBEDDINGS

__all__ = ["EMBEDDINGS"]
