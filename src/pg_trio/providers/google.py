"""Google's own wire: `POST /models/{model}:generateContent`, streamed `:streamGenerateContent?alt=sse`.

The key is in a header, never in the address, because logs keep addresses. google_request.py writes requests,
google_stream.py reads answers.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote

import orjson

from pg_trio.domain.chat import Prompt
from pg_trio.domain.project import Candidate
from pg_trio.domain.upstream import WireRequest
from pg_trio.providers.google_request import why_unfit, write_body
from pg_trio.providers.google_stream import GoogleStreamReader
from pg_trio.providers.native_adapter import ROUTES_KEPT, NativeAdapter, headers_for


class GoogleAdapter(NativeAdapter):
    """Speaks Google's wire; see `domain.adapter.Adapter`."""

    def why_unfit(self, prompt: Prompt, candidate: Candidate) -> str | None:
        """The content of the prompt that this candidate cannot take; None if it can take all."""
        return why_unfit(prompt)

    def build_request(
        self, prompt: Prompt, candidate: Candidate, *, stream: bool = False, asks_usage: bool = True
    ) -> WireRequest:
        """The HTTP request to this candidate. Streams always include their usage. Raises: CandidateUnfit."""
        self.check_fit(prompt, candidate)
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return WireRequest(
            f"{url_of(candidate)}:{method}",
            headers_for(candidate),
            orjson.dumps(write_body(prompt, candidate.model)),
            allow_private_addresses=candidate.credential.allow_private_addresses,
            is_stream=stream,
        )

    def open_stream(self, candidate: Candidate) -> GoogleStreamReader:
        """A reader for the body of one streamed answer."""
        return GoogleStreamReader(candidate)


def model_path(candidate: Candidate) -> str:
    """The model's resource name. Tuned models have their own path (`tunedModels/name`)."""
    return candidate.model if "/" in candidate.model else f"models/{candidate.model}"


@lru_cache(maxsize=ROUTES_KEPT)
def url_of(candidate: Candidate) -> str:
    """The model's address, to which a method is added."""
    return f"{candidate.credential.base_url}/{quote(model_path(candidate), safe='/')}"
