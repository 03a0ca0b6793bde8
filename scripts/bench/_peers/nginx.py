"""nginx twice: the upstream that answers every call with one fixed completion, and the proxy that is C's limit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from scripts.bench._peers.errors import BenchError
from scripts.bench._peers.plan import MODEL
from scripts.bench._peers.ports import HOST
from scripts.bench._peers.target import CHAT_PATH

ANSWER = "Keep the entry with the new name; the export follows the workspace setting once the old one is archived."
COMPLETION = json.dumps(
    {
        "id": "chatcmpl-BenchUpstream0001",
        "object": "chat.completion",
        "created": 1763800000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": ANSWER, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 97, "completion_tokens": 22, "total_tokens": 119},
        "system_fingerprint": "fp_0000000000",
    },
    separators=(",", ":"),
)

# One process without a master: nothing to switch users, one number to measure. Connections are never closed from here,
# so that no peer pays for reconnecting.
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
    {rest}
}}
"""

_UPSTREAM = """\
server {{
        listen {host}:{port};
        location = {path} {{
            default_type application/json;
            return 200 '{completion}';
        }}
    }}
"""

_PROXY = """\
upstream provider {{
        server {host}:{upstream_port};
        keepalive 64;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen {host}:{port};
        location = {path} {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
"""


def find_nginx() -> str:
    """Path of nginx. Raises: BenchError with how to install it."""
    # Debian keeps it in /usr/sbin, which is not on every user's path.
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise BenchError("nginx is missing; it is the upstream of every measurement. On Debian: apt-get install nginx")
    return found


def make_upstream_command(folder: Path, port: int) -> list[str]:
    """A command that answers every chat completion on `port` with COMPLETION."""
    return _make_command(folder, _UPSTREAM.format(host=HOST, port=port, path=CHAT_PATH, completion=COMPLETION))


def make_proxy_command(folder: Path, port: int, upstream_port: int) -> list[str]:
    """A command that passes every chat completion on `port` to the upstream and back, untouched."""
    return _make_command(folder, _PROXY.format(host=HOST, port=port, upstream_port=upstream_port, path=CHAT_PATH))


def _make_command(folder: Path, rest: str) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, rest=rest))
    return [find_nginx(), "-p", str(folder), "-c", str(configuration), "-e", "stderr"]
