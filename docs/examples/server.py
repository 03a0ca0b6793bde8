"""The web server of a chat's pages, as small as can be. It is on another origin than the gateway, keeps the token that
may mint, and gives each visitor a token of its own: for one endpoint, for ten minutes, with limits.

    export PG_TRIO_TOKEN=…      # pg-trio token create --project UUID --name pages --scope mint
    python docs/examples/server.py --gateway http://127.0.0.1:8080 --project UUID --endpoint support

The project needs `cors_origins = ["http://localhost:8000"]`, the endpoint `resumable_streams = true` for pages that are
reloaded. A real server knows its users; this one tells them apart by a cookie.
"""

import argparse
import json
import os
import secrets
import urllib.request
from http.cookies import SimpleCookie
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TERMS = {"ttl_seconds": 600, "rate_limit_per_minute": 20, "max_concurrent": 2, "monthly_budget_usd": "0.50"}


class Pages(SimpleHTTPRequestHandler):
    """Serves the folder's pages, their settings, and tokens."""

    def do_GET(self) -> None:
        if self.path.rpartition("/")[2] == "settings.json":
            shown = {name: getattr(ARGUMENTS, name) for name in ("gateway", "project", "endpoint")}
            self.answer(200, shown)
        elif self.path.endswith("/"):
            self.send_error(404)
        else:
            super().do_GET()

    def do_POST(self) -> None:
        visitor = self.find_visitor()
        # Only this server's own pages may read the answer, because it allows no other origin.
        self.answer(200, mint(visitor), f"visitor={visitor}; Path=/; HttpOnly; SameSite=Strict")

    def find_visitor(self) -> str:
        """Who it is: the cookie of an earlier visit, or a new name."""
        morsel = SimpleCookie(self.headers.get("Cookie", "")).get("visitor")
        return morsel.value if morsel is not None and morsel.value.isalnum() else secrets.token_hex(16)

    def answer(self, status: int, body: object, cookie: str = "") -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        if cookie:
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(data)


def mint(visitor: str) -> object:
    """A token for this visitor: `{"token": …, "expires_at": …}`."""
    body = json.dumps({**TERMS, "endpoints": [ARGUMENTS.endpoint], "subject": visitor}).encode()
    headers = {"Authorization": f"Bearer {os.environ['PG_TRIO_TOKEN']}", "Content-Type": "application/json"}
    url = f"{ARGUMENTS.gateway}/api/{ARGUMENTS.project}/client-tokens"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as response:
        return json.load(response)["data"]


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", default="http://127.0.0.1:8080")
    parser.add_argument("--project", required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    return parser.parse_args()


if __name__ == "__main__":
    ARGUMENTS = read_arguments()
    server = ThreadingHTTPServer(
        ("127.0.0.1", ARGUMENTS.port), lambda *given: Pages(*given, directory=ARGUMENTS.folder)
    )
    print(f"http://localhost:{server.server_port}/chat-fetch.html", flush=True)
    server.serve_forever()
