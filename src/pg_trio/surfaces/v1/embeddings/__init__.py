"""OpenAI's Embeddings as a surface (docs/surfaces.md): its requests and answers.

embedding_surface.py  the surface itself
embedding_request.py  turns a body into an `EmbeddingRequest`, or an error that names the wrong field
embedding_answer.py   answers with vectors
"""

from pg_trio.surfaces.v1.embeddings.embedding_surface import EMBEDDINGS

__all__ = ["EMBEDDINGS"]
