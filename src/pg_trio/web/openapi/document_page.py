"""An OpenAPI document as a page: plain HTML, no script, nothing loaded.

Its one style is in the page. A Content-Security-Policy with the style's digest lets the browser use this style only.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from html import escape
from typing import Any

from quart import Response

from pg_trio.web.openapi.document_parts import Part

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; font-size: 1.1rem; overflow-wrap: anywhere; }
code, pre { font: 0.9em ui-monospace, monospace; }
pre { overflow-x: auto; padding: 0.75rem; border: 1px solid; border-radius: 4px; }
dt { font-weight: bold; } dd { margin: 0 0 0.5rem 1rem; white-space: pre-line; }
"""
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def render_page(document: Part, address: str) -> Response:
    """The page. `address` is where the document itself is."""
    response = Response("".join(_page(document, address)), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _page(document: Part, address: str) -> Iterator[str]:
    title = escape(str(document["info"]["title"]))
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
    yield f"<main><h1>{title}</h1><p>{escape(str(document['info']['summary']))}"
    yield f' As OpenAPI 3.1: <a href="{escape(address)}">{escape(address)}</a>.</p>'
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield from _operation(f"{method.upper()} {path}", operation)
    yield "<h2>Schemas</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f'<details id="{escape(name)}"><summary>{escape(name)}</summary><pre>{_json(schema)}</pre></details>'
    yield "</main></body></html>"


def _operation(head: str, operation: Part) -> Iterator[str]:
    yield f"<h2><code>{escape(head)}</code></h2><p>{escape(operation['summary'])}."
    yield f" {escape(operation.get('description', ''))}</p><dl>"
    for parameter in operation.get("parameters", ()):
        yield f"<dt><code>{escape(parameter['name'])}</code> ({escape(parameter['in'])})</dt>"
        yield f"<dd>{escape(parameter['description'])}</dd>"
    if "requestBody" in operation:
        yield f"<dt>Body</dt><dd>{_links(operation['requestBody'])}</dd>"
    for status, answer in operation["responses"].items():
        yield f"<dt>{escape(status)}</dt><dd>{escape(answer['description'])} {_links(answer)}</dd>"
    yield "</dl>"


def _links(part: Part) -> str:
    """Links to the schemas of a body or an answer."""
    links = []
    for kind, content in part["content"].items():
        schema: Any = content["schema"]
        name = str(schema.get("$ref", "")).rpartition("/")[2]
        link = f' <a href="#{escape(name)}">{escape(name)}</a>' if name else ""
        links.append(f"<code>{escape(kind)}</code>{link}")
    return ", ".join(links)


def _json(schema: Part) -> str:
    return escape(json.dumps(schema, indent=2, ensure_ascii=False))
