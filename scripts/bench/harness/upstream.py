"""nginx twice: the upstream that answers every request with one fixed completion, and a plain proxy in front of it."""

from __future__ import annotations

import json
from pathlib import Path

from scripts.bench.harness.machine import find_tool
from scripts.bench.harness.processes import HOST
from scripts.bench.harness.target import MODEL

_ANSWER = "Keep the entry with the new name; the export follows the workspace setting once the old one is archived."
_MESSAGE = {"role": "assistant", "content": _ANSWER, "refusal": None}
COMPLETION = json.dumps(
    {
        "id": "chatcmpl-BenchUpstream0001",
        "object": "chat.completion",
        "created": 1763800000,
        "model": MODEL,
        "choices": [{"index": 0, "message": _MESSAGE, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 97, "completion_tokens": 22, "total_tokens": 119},
        "system_fingerprint": "fp_0000000000",
    },
    separators=(",", ":"),
)
# One process without a master: there is no user to switch to, and one process to measure. nginx never closes a
# connection, so that no peer pays for reconnecting.
_CONFIGURATION = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_max_body_size 0;
    client_body_buffer_size 64k;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {upstream}
    server {{ listen {host}:{port}; location / {{ {answer} }} }}
}}
"""
_PROVIDER = (
    "upstream provider {{ server {address}; keepalive 64; keepalive_requests 1000000000; keepalive_timeout 1h; }}"
)
_PASS = 'proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection "";'


def make_upstream_command(folder: Path, port: int, answer: str) -> list[str]:
    """A command that answers every request on `port` with this JSON (without a single quote in it)."""
    return _make_command(folder, port, f"default_type application/json; return 200 '{answer}';")


def make_proxy_command(folder: Path, port: int, upstream_port: int) -> list[str]:
    """A command that passes every request on `port` to the upstream, and its answer back."""
    return _make_command(folder, port, _PASS, _PROVIDER.format(address=f"{HOST}:{upstream_port}"))


def _make_command(folder: Path, port: int, answer: str, upstream: str = "") -> list[str]:
    configuration = folder / "nginx.conf"
    text = _CONFIGURATION.format(folder=folder, upstream=upstream, host=HOST, port=port, answer=answer)
    configuration.write_text(text)
    return [find_tool("nginx"), "-p", str(folder), "-c", str(configuration), "-e", "stderr"]
