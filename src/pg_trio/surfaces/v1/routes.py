"""The paths of `/v1`, and what all of its routes have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import NO_NEW_SESSION, Json
from pg_trio.domain.project import Access
from pg_trio.errors import BadRequest, GatewayError, ModelsNotServed, NoFitCandidate, ParameterUnsupported
from pg_trio.surfaces.contract import MatchedRoute, SurfaceDefaults
from pg_trio.surfaces.reading.content_type import JSON_TYPE, check_content_coding, check_content_type
from pg_trio.surfaces.reading.field_checks import read_session_id

SESSION_FIELD: Final = b"x-pg-session-id"
RESUMABLE_FIELD: Final = b"x-pg-resumable"
PROJECT_TYPES = frozenset({"ai_gateway", "ai_wrapper"})
V1_ACCESS = Access("chat", PROJECT_TYPES, ModelsNotServed)
LIST_ACCESS = Access("chat", PROJECT_TYPES, ModelsNotServed, also="models")

# Parameters without which an answer would be another kind of answer. Of others (content parts), the 422 stays.
_PARAMETERS = frozenset({"tools", "tool_choice", "tool_calls", "response_format", "logprobs", "modalities"})


class V1Surface(SurfaceDefaults):
    """What the surfaces of `/v1` share. `path` is a surface's own, behind `/api/{uuid}/v1/`."""

    path: ClassVar[bytes]
    roots: ClassVar[Sequence[bytes]] = (b"api",)
    head_fields: ClassVar[Sequence[bytes]] = (SESSION_FIELD, RESUMABLE_FIELD)
    access: ClassVar[Access] = V1_ACCESS
    takes_api_key: ClassVar[bool] = True
    # Their chunks have no place for it.
    tells_restarts: ClassVar[bool] = False
    # An SDK that asked for a stream cannot read a whole answer.
    always_streams: ClassVar[bool] = True

    def match(self, method: str, path: bytes) -> MatchedRoute | None:
        """`POST /api/{project}/v1/{path}`. The body names the model. The project need not exist."""
        found = split_path(path) if method == "POST" else None
        return MatchedRoute(found[0], None) if found is not None and found[1] == self.path else None

    def check_head(self, head: RequestHead) -> None:
        """Raises BadRequest for the wrong content type, ContentCodingUnsupported for an encoded body."""
        if head.content_type != JSON_TYPE:
            check_content_type(head.content_type)
        if head.content_coding is not None:
            check_content_coding(head.content_coding)

    def numbers_events(self, head: RequestHead) -> bool:
        """If the client asks for it: not every SDK's reader takes `id:` lines."""
        return head.fields.get(RESUMABLE_FIELD, b"").strip() == b"1"

    def refuse_unfit(self, error: NoFitCandidate) -> GatewayError:
        """A 400 that names the parameter; the error itself if content is what no candidate can take."""
        is_parameter = all(what in _PARAMETERS for what, _ in error.reasons)
        return ParameterUnsupported(error.reasons) if is_parameter else error


def split_path(path: bytes) -> tuple[str, bytes] | None:
    """The project in a plain path, and what is behind `/api/{project}/v1/`; None for another path."""
    if not path.startswith(b"/api/"):
        return None
    project, _, rest = path[5:].partition(b"/")
    return (project.decode("ascii"), rest[3:]) if project and rest.startswith(b"v1/") else None


def read_model(given: Json) -> str:
    """The field `model`. Raises: BadRequest."""
    if given is None:
        raise BadRequest("model: is required.")
    if type(given) is not str or not given:
        raise BadRequest("model: must be a string that is not empty.")
    return given


def read_session(head: RequestHead) -> dict[str, object]:
    """What the header `X-PG-Session-Id` says, as fields of a ChatRequest: a session's id, `new`, or no session.

    Raises: SessionIdInvalid.
    """
    given = head.fields.get(SESSION_FIELD)
    if given is None:
        return {"session_terms": NO_NEW_SESSION}
    text = given.decode("latin-1").strip()
    return {} if text == "new" else {"session_id": read_session_id(text)}
