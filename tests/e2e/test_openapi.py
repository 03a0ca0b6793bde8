"""The OpenAPI documents: valid, served, and true. schemathesis calls each operation with right and wrong values; no
answer may be a 500 or one that the document does not have."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import OpenAPIV31SpecValidator
from quart_trio import QuartTrio

from pg_trio.surfaces import SURFACES, V1Surface
from pg_trio.web.introspection import make_web_app
from pg_trio.web.openapi.admin_document import make_admin_document
from pg_trio.web.openapi.public_document import V1_ROUTES, make_public_document
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway, start_pages
from tests.support.wire import get, send_raw

CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("ask", streaming_enabled=True, sessions_enabled=True),
        endpoint("plain", monthly_budget_usd="5", estimated_cost_per_1k_tokens_usd="0.01"),
    ]
)
DOCUMENTS = {"public": make_public_document(SURFACES), "admin": make_admin_document("")}
METHODS = {"get", "post", "patch", "delete"}
# It never ends; test_admin_requests.py reads it.
ENDLESS = "/admin/api/v1/requests/stream"
EXAMPLES = 25


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_is_openapi_3_1(name: str) -> None:
    assert [] == [error.message for error in OpenAPIV31SpecValidator(DOCUMENTS[name]).iter_errors()]
    assert "3.1.0" == DOCUMENTS[name]["openapi"]


def test_every_surface_is_described() -> None:
    paths = {surface.path for surface in SURFACES if isinstance(surface, V1Surface)}

    assert paths <= V1_ROUTES.keys()
    assert {f"/api/{{project}}/v1/{path.decode()}" for path in paths} <= DOCUMENTS["public"]["paths"].keys()


def test_every_other_route_is_described() -> None:
    described = set(DOCUMENTS["public"]["paths"])

    assert {"/openapi.json", "/docs"} == routes_of(make_web_app(lambda: None)) - described


async def test_every_admin_route_is_described(nursery: trio.Nursery, tmp_path: Path) -> None:
    from pg_trio.app import make_admin_app

    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    served = {route for route in routes_of(make_admin_app(gateway.app)) if route.startswith("/admin/api/")}

    assert set(DOCUMENTS["admin"]["paths"]) == served


def routes_of(app: QuartTrio) -> set[str]:
    """The paths of the app's routes as a document writes them; without those that only answer 404 or 405."""
    rules = [rule for rule in app.url_map.iter_rules() if not rule.endpoint.startswith("not_")]
    return {re.sub(r"<(?:path:)?(\w+)>", r"{\1}", rule.rule) for rule in rules}


@pytest.mark.parametrize("server", ["lane", "hypercorn"])
async def test_public_document_and_its_page_are_served(nursery: trio.Nursery, tmp_path: Path, server: str) -> None:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION, server)

    document = await send_raw(gateway.port, get("/openapi.json"))
    page = await send_raw(gateway.port, get("/docs"))

    assert (200, DOCUMENTS["public"]) == (document.status, document.json())
    assert 200 == page.status
    check_page(page.body.decode(), page.headers["content-security-policy"], DOCUMENTS["public"])


async def test_admin_document_and_its_page_are_served(nursery: trio.Nursery, tmp_path: Path) -> None:
    operators = await start_pages(nursery, await start_gateway(nursery, tmp_path, CONFIGURATION))

    document = await send_raw(operators.port, get("/admin/openapi.json"))
    page = await send_raw(operators.port, get("/admin/docs"))

    assert (200, DOCUMENTS["admin"]) == (document.status, document.json())
    check_page(page.body.decode(), page.headers["content-security-policy"], DOCUMENTS["admin"])


class Tags(HTMLParser):
    """What a page would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def check_page(html: str, policy: str, document: Mapping[str, Any]) -> None:
    tags = Tags()
    tags.feed(html)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert set() == tags.tags & {"script", "link", "img", "iframe", "object"}
    assert set() == {name for name in tags.attributes if name in ("style", "src") or name.startswith("on")}
    assert [] == [path for path in document["paths"] if path not in html]


# ── what is described is what happens ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("server", ["lane", "hypercorn"])
async def test_public_answers_are_described(nursery: trio.Nursery, tmp_path: Path, server: str, mode: str) -> None:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION, server)

    await call_all("public", gateway.port, gateway.token, mode)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("server", ["lane", "hypercorn"])
async def test_admin_answers_are_described(nursery: trio.Nursery, tmp_path: Path, server: str, mode: str) -> None:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION, server)
    operators = await start_pages(nursery, gateway)
    await make_rows(gateway)

    await call_all("admin", operators.port, operators.operator, mode)


async def make_rows(gateway: Gateway) -> None:
    for body in ({"message": "Hello"}, {"message": "Hello", "stream": True}, {}):
        await gateway.call("ask", body)


async def call_all(name: str, port: int, token: str, mode: str) -> None:
    # In a thread: the gateway runs in this one.
    failures = await trio.to_thread.run_sync(partial(find_failures, name, port, token, mode))
    assert not failures, "\n".join(failures)


def find_failures(name: str, port: int, token: str, mode: str) -> Sequence[str]:
    """What schemathesis finds wrong, operation by operation."""
    import schemathesis

    schema = schemathesis.openapi.from_dict(DOCUMENTS[name])
    found = []
    for result in schema.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]
        if operation.path == ENDLESS:
            continue
        try:
            call_often(operation, f"http://127.0.0.1:{port}", token, mode)
        except Unsatisfiable:
            # Nothing can be wrong in a call without parameters.
            assert mode == "negative"
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - collected, so that one run shows all
            causes = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
            found.append(f"{operation.label}: {error} {causes}")
    return found


def call_often(operation: Any, base_url: str, token: str, mode: str) -> None:
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    told = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
        checks.response_headers_conformance,
    ]
    # Else nearly every call would end with a project or a slug that there is not.
    known = {"project": str(PROJECT), "slug": "ask"}

    @given(case=operation.as_strategy(generation_mode=GenerationMode(mode)))
    @settings(
        max_examples=EXAMPLES,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    def call(case: Any) -> None:
        if len(json.dumps(case.as_curl_command())) % 4:
            case.path_parameters = {
                **case.path_parameters,
                **{k: v for k, v in known.items() if k in case.path_parameters},
            }
        response = case.call(base_url=base_url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        # A reload needs a supervisor, which this gateway does not have: its 503 is described.
        if response.status_code == 503 and case.operation.path.endswith("config/reload"):
            return
        case.validate_response(response, checks=told)

    call()
