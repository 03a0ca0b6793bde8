"""The gateway under test: a configuration with every stage at work, a token, and its two ways to be served."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from attrs import frozen

from scripts.bench._peers.errors import PeerUnavailableError
from scripts.bench._peers.plan import MODEL, QUESTION, SYSTEM_PROMPT
from scripts.bench._peers.ports import HOST
from scripts.bench._peers.processes import clean_environment
from scripts.bench._peers.target import Target

SWITCHED_ON = (
    "token, both rate limits, monthly budget, four guardrails (eight kinds of personal data, prompt injection, three "
    "keywords, length), input schema, system prompt, deadline, every call logged to SQLite"
)
PROJECT = "6f1c2a54-0d3e-4b7a-9c68-2f5b8e1d7a90"
_SLUG = "support"
_TOKEN_LIMIT_S = 60.0
_BINARIES = Path(sys.executable).parent

# Limits that are checked and counted at every call and never reached: a hundred million a minute, a million dollars.
_CONFIGURATION = """\
[gateway]
data_dir = "data"

[[credentials]]
name = "upstream"
provider = "openai"
api_key = "sk-upstream"
base_url = "{upstream_url}"

[[projects]]
uuid = "{project}"
name = "Bench"
slug = "bench"

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
streaming_enabled = true
deadline_ms = 20000
input_schema = {input_schema}

[projects.endpoints.guardrails.pii_filter]
enabled = true

[projects.endpoints.guardrails.prompt_injection]
enabled = true

[projects.endpoints.guardrails.keyword_blocklist]
enabled = true
words = ["project nightfall", "internal only", "do not forward"]

[projects.endpoints.guardrails.content_length]
enabled = true
min = 1
max = 20000
"""

_INPUT_SCHEMA = {
    "type": "object",
    "required": ["message"],
    "properties": {"message": {"type": "string", "minLength": 1, "maxLength": 20000}, "stream": {"type": "boolean"}},
    "additionalProperties": False,
}


@frozen(slots=True)
class Gateway:
    """A configuration file and a token for it."""

    configuration: Path
    token: str

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PG_TRIO_CONFIG": str(self.configuration)}

    def make_target(self, port: int) -> Target:
        """The endpoint's own route with the question as its message."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return Target(port, f"/api/{PROJECT}/{_SLUG}", headers, json.dumps({"message": QUESTION}))

    def make_lane_command(self, port: int) -> tuple[str, ...]:
        """`pg-trio serve` with one worker."""
        return (
            str(_BINARIES / "pg-trio"),
            "serve",
            "--config",
            str(self.configuration),
            "--bind",
            f"{HOST}:{port}",
        )

    def make_hypercorn_command(self, port: int) -> tuple[str, ...]:
        """Hypercorn as anybody would start it; the configuration's path comes from the environment."""
        bind = ("--bind", f"{HOST}:{port}")
        return (str(_BINARIES / "hypercorn"), "-k", "trio", *bind, "pg_trio.app:create_app()")

    def count_logged(self) -> int:
        """Rows in the log's file: after the gateway has stopped, one for every call that it answered."""
        with closing(sqlite3.connect(self.configuration.with_name("data") / "log.db")) as log:
            (count,) = log.execute("SELECT count(*) FROM gateway_logs").fetchone()
        return int(count)


def set_up(folder: Path, upstream_url: str) -> Gateway:
    """A gateway that can be started. Raises: PeerUnavailableError if no token can be made."""
    configuration = folder / "gateway.toml"
    # A JSON string is a TOML string, and a schema may be given as a string of JSON.
    configuration.write_text(
        _CONFIGURATION.format(
            upstream_url=upstream_url,
            project=PROJECT,
            slug=_SLUG,
            model=MODEL,
            prompt=json.dumps(SYSTEM_PROMPT),
            input_schema=json.dumps(json.dumps(_INPUT_SCHEMA)),
        )
    )
    return Gateway(configuration, create_token(configuration))


def create_token(configuration: Path) -> str:
    """The plaintext of a new token for `PROJECT`. Raises: PeerUnavailableError."""
    choice = ["--config", str(configuration), "--project", PROJECT, "--name", "bench", "--scope", "chat"]
    try:
        made = subprocess.run(
            [str(_BINARIES / "pg-trio"), "token", "create", *choice],
            capture_output=True,
            text=True,
            timeout=_TOKEN_LIMIT_S,
            check=True,
            cwd=configuration.parent,
            env=clean_environment(),
        )
    except subprocess.CalledProcessError as exc:
        end = "\n".join(exc.stderr.splitlines()[-5:])
        raise PeerUnavailableError(f"pg-trio token create failed with status {exc.returncode}\n{end}") from exc
    except (subprocess.TimeoutExpired, OSError) as exc:
        raise PeerUnavailableError(f"pg-trio token create: {exc}") from exc
    return made.stdout.strip()
