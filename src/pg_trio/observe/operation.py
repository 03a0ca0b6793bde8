"""The words that metrics and traces have for what a request asks: the surface it came by, and the GenAI operation."""

from __future__ import annotations

# By the surfaces' own names; a surface that is not here is labelled with its name.
_SURFACES = {
    "openai_chat": "openai",
    "openai_responses": "responses",
    "openai_embeddings": "embeddings",
    "anthropic_messages": "anthropic",
    "anthropic_count_tokens": "anthropic",
}
_ROUTES = {
    "gateway": "/api/{project}/{endpoint}",
    "websocket": "/api/{project}/{endpoint}/ws",
    "openai": "/api/{project}/v1/chat/completions",
    "responses": "/api/{project}/v1/responses",
    "embeddings": "/api/{project}/v1/embeddings",
    "anthropic": "/api/{project}/v1/messages",
}
# The well-known values of `gen_ai.provider.name`; other providers keep their own names.
_PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex": "gcp.vertex_ai",
    "xai": "x_ai",
}


def surface_label(surface: str) -> str:
    """The label of a surface: `gateway`, `openai`, `anthropic`, `responses`, `embeddings`, `websocket`."""
    return _SURFACES.get(surface, surface)


def operation_of(surface: str) -> str:
    """`gen_ai.operation.name` of the surface's requests."""
    return "embeddings" if surface_label(surface) == "embeddings" else "chat"


def route_of(surface: str) -> str:
    """`http.route` of the surface's requests."""
    return _ROUTES.get(surface_label(surface), _ROUTES["gateway"])


def provider_name(provider: str) -> str:
    """`gen_ai.provider.name` of a provider."""
    return _PROVIDERS.get(provider, provider)
