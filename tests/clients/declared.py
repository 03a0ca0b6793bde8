"""The clients, and what is tested of each: the list behind the matrix in docs/surfaces.md.

A feature that a client does not have is not in its list. `scripts/client-matrix` runs these tests and writes the matrix.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

from pg_trio.surfaces import is_v1_route

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

# Each feature of the matrix, with the path of `/v1` that it needs.
CHAT_FEATURES: Mapping[str, str] = {
    "chat": "a whole answer: text, finish reason, usage, reasoning",
    "stream": "the same, streamed",
    "stream helper": "the same, by a helper that puts the answer together",
    "reasoning": "a model's reasoning, apart from its text",
    "tools": "a round of tools, whole and streamed",
    "structured": "an answer in a given shape, read by the client's own helper",
    "models": "the list of models",
    "errors": "an error of the client's own types for every row of the table of errors",
    "retries": "waits before it repeats a request as long as `Retry-After` says",
    "vain": "does not repeat what no repetition helps",
    "obeys": "does not repeat a 504 with `x-should-retry: false`",
    "timeout": "its timeout ends the provider's call",
    "deadline": "its timeout is the gateway's deadline",
    "headers": "the header fields of an answer",
    "cancel": "a stream that it leaves ends the provider's call",
    "cut": "never takes a cut answer for a whole one",
    "odd": "streams in pieces, with comments, and slow",
}
OTHER_FEATURES: Mapping[str, str] = {"embeddings": "embeddings", "responses": "responses", "messages": "messages"}


@frozen
class Client:
    """One client: its package, how its program is started, and what is tested of it."""

    name: str
    package: str
    environment: str
    program: Sequence[str]
    features: Sequence[str]
    # The class of its errors by the status of the answer, and whether its errors have the error's `code`.
    errors: Mapping[int, str] = {}
    tells_codes: bool = True
    # Whether it asks for a shape by a tool of the shape's name; the timeout with which a slow stream is read.
    shapes_by_tool: bool = False
    slow_timeout_s: float | None = 0.5

    @property
    def command(self) -> Sequence[str]:
        """What starts its program."""
        if self.environment == "node":
            return ["node", str(HERE / "node" / self.program[0]), *self.program[1:]]
        return [str(ROOT / self.environment / "bin" / "python"), str(HERE / "python" / self.program[0])]

    def missing(self) -> str | None:
        """What is not installed, if something is not."""
        folder = HERE / "node" / "node_modules" if self.environment == "node" else ROOT / self.environment
        return None if (folder / ".stamp").is_file() else f"{self.name} is not installed (./scripts/clients)"


_ALL = tuple(CHAT_FEATURES)
_OPENAI_ERRORS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    502: "InternalServerError",
    503: "InternalServerError",
    504: "InternalServerError",
}

# LiteLLM has classes of its own.
_LITELLM_ERRORS = {
    **_OPENAI_ERRORS,
    403: "APIError",
    422: "BadRequestError",
    502: "BadGatewayError",
    503: "ServiceUnavailableError",
    504: "Timeout",
}
# The Vercel AI SDK has one class for all.
_AI_ERRORS = dict.fromkeys(_OPENAI_ERRORS, "APICallError")
# It repeats a 422 and a 504 whatever the header says, and keeps its timeout to itself.
_NOT_IN_LANGCHAIN_JS = ("models", "reasoning", "headers", "vain", "obeys", "deadline")
_NO_HELPER = tuple(name for name in _ALL if name != "stream helper")

CLIENTS: Sequence[Client] = (
    Client("openai (Python)", "openai", ".venv-clients", ("openai_sync.py",), (*_ALL, "embeddings", "responses"), _OPENAI_ERRORS),
    Client(
        "openai (Python, async)",
        "openai",
        ".venv-clients",
        ("openai_async.py",),
        (*_ALL, "embeddings", "responses"),
        _OPENAI_ERRORS,
    ),
    Client(
        "langchain-openai",
        "langchain-openai",
        ".venv-clients",
        ("langchain_chat.py",),
        (*(name for name in _NO_HELPER if name not in ("models", "reasoning")), "embeddings", "responses"),
        _OPENAI_ERRORS,
    ),
    Client(
        "litellm",
        "litellm",
        ".venv-clients",
        ("litellm_sdk.py",),
        (*(name for name in _NO_HELPER if name not in ("models", "headers")), "embeddings"),
        _LITELLM_ERRORS,
        tells_codes=False,
    ),
    Client(
        "instructor",
        "instructor",
        ".venv-clients-instructor",
        ("instructor_sdk.py",),
        ("chat", "structured", "errors", "retries", "vain", "obeys", "cut"),
        _OPENAI_ERRORS,
        shapes_by_tool=True,
    ),
    Client("openai (Node)", "openai", "node", ("openai_node.mjs",), (*_ALL, "embeddings", "responses"), _OPENAI_ERRORS),
    Client(
        "ai + @ai-sdk/openai-compatible",
        "@ai-sdk/openai-compatible",
        "node",
        ("ai_sdk.mjs", "compatible"),
        (*(name for name in _ALL if name not in ("models", "obeys", "deadline")), "embeddings"),
        _AI_ERRORS,
        tells_codes=False,
        slow_timeout_s=None,
    ),
    Client(
        "@langchain/openai",
        "@langchain/openai",
        "node",
        ("langchain_node.mjs",),
        (*(name for name in _NO_HELPER if name not in _NOT_IN_LANGCHAIN_JS), "embeddings", "responses"),
        _OPENAI_ERRORS,
    ),
)


def client_id(value: object) -> str | None:
    """The name of a test's parameter that is a client."""
    return value.name if isinstance(value, Client) else None


def clients_with(feature: str) -> list[Client]:
    """The clients that have this feature."""
    return [client for client in CLIENTS if feature in client.features]


def ways_with(feature: str, ways: Mapping[str, str]) -> list[tuple[Client, str]]:
    """The clients that have this feature, each with the scenarios of `ways` (and the features that they need)."""
    return [(client, way) for client in clients_with(feature) for way, need in ways.items() if need in client.features]
