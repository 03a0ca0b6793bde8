"""A gateway of any size: so many endpoints in its file, so many tokens in its database, and its one worker running."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from uuid import UUID

from attrs import frozen

from pg_trio.store.token_file import PREFIX_CHARS, hash_token, open_tokens
from pg_trio.store.transaction import transaction
from scripts.bench._limits.worker import find_workers, measure_memory_bytes
from scripts.bench._peers.ours import PROJECT, Gateway, set_up
from scripts.bench._peers.plan import MODEL, SYSTEM_PROMPT
from scripts.bench._peers.ports import HOST, find_free_ports
from scripts.bench._peers.processes import Pinned, run_pinned
from scripts.bench._peers.target import Target, wait_ready

_BUSY_LIMIT_S = 60.0
_SCHEMA_FILE = "wide.json"
_SCHEMA = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "minLength": 1},
        "messages": {"type": "array", "items": {"type": "object", "required": ["role", "content"]}},
    },
}

# The stages of `_peers.ours`, with room for a body of megabytes.
_ENDPOINT = """
[[projects.endpoints]]
slug = "{slug}"
credential = "upstream"
model = "{model}"
prompt = {prompt}
rate_limit_per_minute = 100000000
rate_limit_per_hour = 100000000
monthly_budget_usd = 1000000
estimated_cost_per_1k_tokens_usd = 0.0001
max_output_tokens = 256
deadline_ms = 60000
input_schema = "file:{schema}"
[projects.endpoints.guardrails.pii_filter]
enabled = true
[projects.endpoints.guardrails.prompt_injection]
enabled = true
[projects.endpoints.guardrails.keyword_blocklist]
words = ["project nightfall", "internal only", "do not forward"]
[projects.endpoints.guardrails.content_length]
max = 100000000
"""


@frozen(slots=True, eq=False)
class Running:
    """A gateway that answers, with what its start cost: wall and CPU seconds until its first answer."""

    gateway: Gateway
    process: Pinned
    port: int
    workers: tuple[int, ...]
    start_s: float
    start_cpu_s: float
    idle_bytes: int

    def make_target(self, body: Mapping[str, object], *, slug: str = "e0", token: str | None = None) -> Target:
        """One of the endpoints `e0`, `e1`, … with a body."""
        headers = {"Authorization": f"Bearer {token or self.gateway.token}"}
        return Target(self.port, f"/api/{PROJECT}/{slug}", headers, json.dumps(body))


def make_gateway(folder: Path, upstream_url: str, *, endpoints: int = 1, tokens: int = 0) -> Gateway:
    """A gateway with that many endpoints and that many tokens beside its own. Raises: PeerUnavailableError."""
    folder.mkdir(parents=True)
    gateway = set_up(folder, upstream_url)
    (folder / _SCHEMA_FILE).write_text(json.dumps(_SCHEMA))
    prompt = json.dumps(SYSTEM_PROMPT)
    with gateway.configuration.open("a") as file:
        for number in range(endpoints):
            file.write(_ENDPOINT.format(slug=f"e{number}", model=MODEL, prompt=prompt, schema=_SCHEMA_FILE))
    _insert_tokens(folder / "data", tokens)
    return gateway


def name_token(number: int) -> str:
    """The plaintext of the inserted token of that number: any text of the right shape is one."""
    return f"pg_live_bench{number:030d}"


def _insert_tokens(data_dir: Path, count: int) -> None:
    project = UUID(PROJECT).bytes
    rows = (
        (project, "bench", name_token(number)[:PREFIX_CHARS], hash_token(name_token(number)), "live", "chat", 0.0)
        for number in range(count)
    )
    with closing(open_tokens(data_dir, _BUSY_LIMIT_S)) as connection, transaction(connection):
        connection.executemany(
            "INSERT INTO tokens (project_uuid, name, prefix, digest, env, scopes, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            rows,
        )


@contextlib.contextmanager
def run_gateway(
    gateway: Gateway, cores: str, *, workers: int = 1, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """`pg-trio serve` on those cores (as taskset lists them) for the length of the block.

    Raises: PeerUnavailableError if it does not answer.
    """
    (port,) = find_free_ports(1)
    # run_pinned pins to one core; the inner taskset widens that where several are wanted.
    serve = gateway.make_lane_command(port)
    command = ("taskset", "--cpu-list", cores, *serve, "--workers", str(workers))
    log = gateway.configuration.with_name("output.log")
    first = int(cores.split(",", maxsplit=1)[0])
    started_at = time.monotonic()
    with run_pinned(f"pg-trio on {HOST}:{port}", command, core=first, log=log, environment=environment) as process:
        wait_ready(process, gateway.make_target(port))
        start_s = time.monotonic() - started_at
        pids = find_workers(gateway.configuration.with_name("data"))
        yield Running(
            gateway=gateway,
            process=process,
            port=port,
            workers=pids,
            start_s=start_s,
            start_cpu_s=process.measure_cpu_s(),
            idle_bytes=sum(map(measure_memory_bytes, pids)),
        )
