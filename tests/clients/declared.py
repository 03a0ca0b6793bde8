"""The clients, and what is tested of each: the list behind the matrix in docs/surfaces.md.

A feature that a client does not have is not in its list. Features whose route the gateway does not have are skipped.
`scripts/client-matrix` runs these tests and writes the matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from pg_trio.surfaces import is_v1_route

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

# The columns of the matrix, in its order, and what is shown for each.
FEATURES: Mapping[str, str] = {
    "chat": "a whole answer: text, finish reason, usage",
    "stream": "the same, streamed",
    "helper": "the same, by a helper of the client that puts a stream together",
    "reasoning": "a model's reasoning, apart from its text",
    "tools": "a round of tools, whole and streamed",
    "shape": "an answer in a given shape, read by the client's own helper",
    "models": "the list of models",
    "embeddings": "embeddings, as numbers and packed",
    "counts": "the count of a request's tokens",
    "errors": "an error of the client's own types for every row of the table of errors",
    "headers": "the header fields of an answer",
    "waits": "waits before it repeats a request as long as `Retry-After` says",
    "gives up": "does not repeat what no repetition helps: an unknown model, a spent budget",
    "obeys": "does not repeat a 504, because of `x-should-retry: false`",
    "timeout": "its timeout ends the provider's call",
    "deadline": "its timeout is the gateway's deadline of whole answers",
    "cancel": "a stream that it leaves ends the provider's call",
    "cut": "never takes a cut answer for a whole one",
    "odd": "streams in pieces of any size, with comments, and slower than its timeout",
}


@frozen
class Client:
    """One client, how its program is started, and what is tested of it. `package` is what its registry calls it."""

    name: str
    package: str
    environment: str
    program: Sequence[str]
    features: Sequence[str]
    # The class of its errors by the status of the answer, and whether they have OpenAI's `code`.
    errors: Mapping[int, str]
    tells_codes: bool = True
    # The path of `/v1` that its chats need.
    path: str = "chat/completions"
    # An option of its calls that the gateway refuses.
    wrong_option: Mapping[str, Any] = {"temperature": 99}
    # The tool by which it asks for a shape, if it does; the timeout with which it reads a slow stream.
    shape_tool: str | None = None
    slow_timeout_s: float | None = 0.5

    @property
    def command(self) -> Sequence[str]:
        """What starts its program."""
        if self.environment == "node":
            return ["node", str(HERE / "node" / self.program[0]), *self.program[1:]]
        return [
            str(ROOT / self.environment / "bin" / "python"),
            str(HERE / "python" / self.program[0]),
            *self.program[1:],
        ]

    def missing(self) -> str | None:
        """What is not installed, if something is not."""
        folder = HERE / "node" / "node_modules" if self.environment == "node" else ROOT / self.environment
        return None if (folder / ".stamp").is_file() else f"{self.name} is not installed (./scripts/clients)"


def _all_but(*names: str) -> tuple[str, ...]:
    """All features of Chat Completions but these."""
    assert set(names) <= FEATURES.keys()
    return tuple(name for name in FEATURES if name not in (*names, "counts"))


_OPENAI_ERRORS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    413: "APIError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    502: "InternalServerError",
    503: "InternalServerError",
    504: "InternalServerError",
}
_ANTHROPIC_ERRORS = {**_OPENAI_ERRORS, 529: "InternalServerError"}
_LITELLM_ERRORS = {
    **_OPENAI_ERRORS,
    403: "APIError",
    422: "BadRequestError",
    502: "BadGatewayError",
    503: "ServiceUnavailableError",
    504: "Timeout",
}
# The Vercel AI SDK has one class for all.
_AI_ERRORS = dict.fromkeys(_ANTHROPIC_ERRORS, "APICallError")
# It tells no timeout, reads no `x-should-retry`, and has no list of models.
_AI_FEATURES = _all_but("models", "obeys", "deadline")
_RESPONSES = "responses"
_MESSAGES = "messages"

CLIENTS: Sequence[Client] = (
    Client("openai (Python)", "openai", ".venv-clients", ("openai_sync.py",), _all_but(), _OPENAI_ERRORS),
    Client("openai (Python, async)", "openai", ".venv-clients", ("openai_async.py",), _all_but(), _OPENAI_ERRORS),
    Client(
        "langchain-openai",
        "langchain-openai",
        ".venv-clients",
        ("langchain_chat.py",),
        _all_but("helper", "reasoning", "models"),
        _OPENAI_ERRORS,
    ),
    Client(
        "litellm",
        "litellm",
        ".venv-clients",
        ("litellm_sdk.py",),
        _all_but("helper", "models", "headers"),
        _LITELLM_ERRORS,
        tells_codes=False,
    ),
    Client(
        "instructor",
        "instructor",
        ".venv-clients-instructor",
        ("instructor_sdk.py",),
        ("chat", "shape", "errors", "waits", "gives up", "obeys", "cut"),
        _OPENAI_ERRORS,
        shape_tool="Weather",
    ),
    Client("openai (Node)", "openai", "node", ("openai_node.mjs",), _all_but(), _OPENAI_ERRORS),
    Client(
        "ai + @ai-sdk/openai-compatible",
        "@ai-sdk/openai-compatible",
        "node",
        ("ai_sdk.mjs", "compatible"),
        _AI_FEATURES,
        _AI_ERRORS,
        tells_codes=False,
        slow_timeout_s=None,
    ),
    Client(
        "@langchain/openai",
        "@langchain/openai",
        "node",
        ("langchain_node.mjs",),
        # It repeats a 422 and a 504, and keeps its timeout to itself.
        _all_but("helper", "reasoning", "models", "headers", "gives up", "obeys", "deadline"),
        _OPENAI_ERRORS,
    ),
    Client(
        "openai (Python), Responses",
        "openai",
        ".venv-clients",
        ("openai_responses.py",),
        _all_but("reasoning", "models", "embeddings"),
        _OPENAI_ERRORS,
        path=_RESPONSES,
    ),
    Client(
        "openai (Node), Responses",
        "openai",
        "node",
        ("openai_responses.mjs",),
        _all_but("reasoning", "models", "embeddings"),
        _OPENAI_ERRORS,
        path=_RESPONSES,
    ),
    Client(
        "langchain-openai, Responses",
        "langchain-openai",
        ".venv-clients",
        ("langchain_chat.py", "responses"),
        _all_but("helper", "reasoning", "models", "embeddings", "headers"),
        _OPENAI_ERRORS,
        path=_RESPONSES,
    ),
    Client(
        "@langchain/openai, Responses",
        "@langchain/openai",
        "node",
        ("langchain_node.mjs", "responses"),
        # It passes over `response.failed`: a cut answer is one without a status (docs/clients.md).
        _all_but("helper", "reasoning", "models", "embeddings", "headers", "gives up", "obeys", "deadline", "cut"),
        _OPENAI_ERRORS,
        path=_RESPONSES,
    ),
    Client(
        "ai + @ai-sdk/openai",
        "@ai-sdk/openai",
        "node",
        ("ai_sdk.mjs", "openai"),
        tuple(name for name in _AI_FEATURES if name != "reasoning"),
        _AI_ERRORS,
        tells_codes=False,
        path=_RESPONSES,
        slow_timeout_s=None,
    ),
    Client(
        "anthropic (Python)",
        "anthropic",
        ".venv-clients",
        ("anthropic_sdk.py",),
        (*_all_but("shape", "models", "embeddings"), "counts"),
        _ANTHROPIC_ERRORS,
        tells_codes=False,
        path=_MESSAGES,
        wrong_option={"max_tokens": 0},
    ),
    Client(
        "@anthropic-ai/sdk",
        "@anthropic-ai/sdk",
        "node",
        ("anthropic_node.mjs",),
        (*_all_but("shape", "models", "embeddings"), "counts"),
        _ANTHROPIC_ERRORS,
        tells_codes=False,
        path=_MESSAGES,
        wrong_option={"max_tokens": 0},
    ),
    Client(
        "ai + @ai-sdk/anthropic",
        "@ai-sdk/anthropic",
        "node",
        ("ai_sdk.mjs", "anthropic"),
        tuple(name for name in _AI_FEATURES if name != "embeddings"),
        _AI_ERRORS,
        tells_codes=False,
        path=_MESSAGES,
        wrong_option={"topP": 99},
        shape_tool="json",
        slow_timeout_s=None,
    ),
)


def is_served(client: Client, feature: str) -> bool:
    """Whether the gateway has the route that a feature of a client needs."""
    return is_v1_route((feature if feature == "embeddings" else client.path).encode("ascii"))


def clients_with(feature: str, path: str | None = None) -> list[Any]:
    """The clients that have this feature (and need this path), as a test's parameters."""
    return [
        pytest.param(client, marks=_marks(client, feature))
        for client in CLIENTS
        if feature in client.features and path in (None, client.path)
    ]


def ways_with(feature: str, ways: Mapping[str, str]) -> list[Any]:
    """The clients that have this feature, each with the scenarios of `ways` (and the features that they need)."""
    return [
        pytest.param(client, way, marks=_marks(client, feature))
        for client in CLIENTS
        if feature in client.features
        for way, need in ways.items()
        if need in client.features
    ]


def client_id(value: object) -> str | None:
    """The name of a test's parameter that is a client."""
    return value.name if isinstance(value, Client) else None


def _marks(client: Client, feature: str) -> list[pytest.MarkDecorator]:
    """Tells the matrix what a test shows, and skips it as long as the route is missing."""
    missing = pytest.mark.skipif(not is_served(client, feature), reason="the gateway does not have the route yet")
    return [pytest.mark.shows(client.name, feature), missing]
