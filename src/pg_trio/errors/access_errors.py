"""What a token or an operator may not do."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define

from pg_trio.errors.gateway_error import CallerError, OwnStateError

# 200: the endpoint's name in the message is the client's own text. A slug has at most 64 characters; a longer text is
# noise in a log.
SLUG_ECHO_CHARS = 200


@define(slots=False, eq=False)
class MissingToken(CallerError):
    """No `Authorization: Bearer …` at all. A bearer of the wrong shape is `MalformedToken`."""

    status = 401
    text = "Missing Bearer token."

    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


@define(slots=False, eq=False)
class MalformedToken(CallerError):
    """A bearer that is not `pg_live_…`, `pg_test_…` or `pg_tmp_…`; it was not looked up."""

    status = 401
    text = "Invalid token format."

    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Bearer error="invalid_token"'}


@define(slots=False, eq=False)
class UnknownToken(CallerError):
    """A well-formed token that does not exist or was revoked; the answer does not say which."""

    status = 401
    text = "Invalid or revoked token."

    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Bearer error="invalid_token"'}


@define(slots=False, eq=False)
class ForeignToken(CallerError):
    """A valid token with another project's URL (or a URL of no project; the answer does not say which)."""

    status = 403
    text = "Token does not belong to this project."


@define(slots=False, eq=False)
class MissingScope(CallerError):
    """A valid token of this project without the scope for this request."""

    status = 403
    scope: str
    held: Sequence[str]

    @property
    def text(self) -> str:
        return f"Missing required scope: '{self.scope}'. Token has: {', '.join(self.held)}."


@define(slots=False, eq=False)
class EndpointNotGranted(CallerError):
    """A client token with an endpoint that it does not name. The answer does not say whether there is such an
    endpoint."""

    status = 403
    text = "Token is not valid for this endpoint."


@define(slots=False, eq=False)
class ProjectInactive(CallerError):
    """The token's project is switched off in the configuration."""

    status = 403
    text = "Project is inactive."


@define(slots=False, eq=False)
class WrongProjectType(CallerError):
    """The project is of a type that has no gateway endpoints."""

    status = 400
    text = "This project is not an AI Gateway. Use /api/{uuid}/v1/chat/completions for AI Wrapper projects."


@define(slots=False, eq=False)
class ModelsNotServed(CallerError):
    """The project is of a type that has no models, on a `/v1` route."""

    status = 400
    text = "This project does not serve models."


@define(slots=False, eq=False)
class ModelNotFound(CallerError):
    """No endpoint and no opened provider of the token's own project has the name that the request gives as `model`.

    `names` are names that there are, the nearest first. `model` is None if it could be no model's name.
    """

    status = 404
    model: str | None
    names: Sequence[str]

    @property
    def text(self) -> str:
        asked = "The model" if self.model is None else f"Model '{self.model[:SLUG_ECHO_CHARS]}'"
        if not self.names:
            return f"{asked} was not found: this project has no models."
        return f"{asked} was not found. This project has: {', '.join(self.names)}."


@define(slots=False, eq=False)
class EndpointNotFound(CallerError):
    """No active endpoint of that slug in the token's own project."""

    status = 404
    slug: str

    @property
    def text(self) -> str:
        return f"Endpoint '{self.slug[:SLUG_ECHO_CHARS]}' not found or inactive."


# ── operators ────────────────────────────────────────────────────────────────────────────────────────────────────────


@define(slots=False, eq=False)
class OperatorRefused(CallerError):
    """At the admin address: no key and no session, or a key or a session that is unknown, revoked or over."""

    status = 401
    text = "Missing or unknown operator key."

    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


@define(slots=False, eq=False)
class RoleInsufficient(CallerError):
    """A viewer asked for a change."""

    status = 403
    text = "A viewer may not change anything."


@define(slots=False, eq=False)
class ReloadUnavailable(OwnStateError):
    """At the admin address of a gateway that `pg-trio serve` does not supervise: it cannot read its file again."""

    status = 503
    text = "This gateway cannot reload its configuration; start it again."


@define(slots=False, eq=False)
class CsrfMissing(CallerError):
    """A change by a page's session without the session's CSRF token, or from another origin."""

    status = 403
    text = "Missing or wrong CSRF token."
