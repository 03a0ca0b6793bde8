"""`GET /api/{uuid}/v1/models` and `GET …/v1/models/{id}`: what a request may name as its model, in OpenAI's shapes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from quart import request
from quart_trio import QuartTrio

from pg_trio.domain.project import Access, Caller, ModelName, Project
from pg_trio.errors import EndpointNotGranted
from pg_trio.surfaces import LIST_ACCESS
from pg_trio.web.head_template import pick_tokens


class ListedModels(Protocol):
    """The parts of the running gateway that the list reads."""

    async def find_caller(self, authorization: Sequence[str], project: str, access: Access, at: float) -> Caller: ...

    def list_model_names(self, project: Project) -> Iterable[ModelName]: ...

    def find_model_name(self, project: Project, name: str) -> ModelName:
        """Raises ModelNotFound."""


def add_model_routes(app: QuartTrio, find_gateway: Any) -> None:
    """Add the routes. `find_gateway()` returns the running gateway."""
    # OpenAI's `created` is a model's release time, which is not known here. So it is the time since when this worker
    # offers the model.
    made_at = int(time.time())

    async def find_caller(project: str) -> tuple[ListedModels, Caller]:
        gateway: ListedModels = find_gateway()
        tokens = pick_tokens(request.headers.getlist("Authorization"), request.headers.getlist("x-api-key"))
        return gateway, await gateway.find_caller(tokens, project, LIST_ACCESS, time.time())

    @app.get("/api/<project>/v1/models")
    async def list_models(project: str) -> dict[str, Any]:
        gateway, caller = await find_caller(project)
        # A client token sees the endpoints that it names.
        names = [name for name in gateway.list_model_names(caller.project) if caller.token.may_call(name.id)]
        return {"object": "list", "data": [describe_model(name, made_at) for name in names]}

    @app.get("/api/<project>/v1/models/<path:model>")
    async def show_model(project: str, model: str) -> dict[str, Any]:
        gateway, caller = await find_caller(project)
        if not caller.token.may_call(model):
            raise EndpointNotGranted
        return describe_model(gateway.find_model_name(caller.project, model), made_at)


def describe_model(name: ModelName, created: int) -> dict[str, Any]:
    """OpenAI's model object. `created` is Unix seconds."""
    return {
        "id": name.id,
        "object": "model",
        "created": created,
        "owned_by": "pg_trio",
        "is_alias": name.is_alias,
    }
