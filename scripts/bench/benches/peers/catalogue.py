"""The peers: how each is started, how it is called, and what it has switched on."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from attrs import evolve, field, frozen

from scripts.bench.benches.peers import floor
from scripts.bench.benches.peers.install import LITELLM_VERSION, PORTKEY_VERSION, install_litellm, install_portkey
from scripts.bench.harness.gateway import BINARIES, SWITCHED_ON, set_up_full
from scripts.bench.harness.processes import HOST
from scripts.bench.harness.target import MODEL, QUESTION, Target
from scripts.bench.harness.upstream import make_proxy_command

# LiteLLM refuses a weak master key; this one guards a loopback port for a few seconds.
_LITELLM_KEY = "sk-bench-7f3e91c2a85d4b60b1f2"


@frozen(slots=True)
class Spot:
    """Where a peer is set up: its scratch folder, the cache of installations, and the ports."""

    folder: Path
    cache: Path
    port: int
    upstream_port: int

    @property
    def upstream_url(self) -> str:
        return f"http://{HOST}:{self.upstream_port}/v1"


@frozen(slots=True)
class Launch:
    """How to start a peer that is set up, and how to call it. Without a command the target is the upstream itself.

    `count_logged`: how many calls it has logged, asked once it has stopped. `stream_environment`: what is added where
    its streams are measured.
    """

    target: Target
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(factory=dict)
    count_logged: Callable[[], int] | None = None
    stream_environment: Mapping[str, str] = field(factory=dict)
    # Where its streams are asked in another way than its requests.
    stream_target: Target | None = None


@frozen(slots=True)
class Peer:
    """One row of each table. `set_up` writes its files; `install` fetches it once, before anything is measured.

    `changed`: what was changed so that it streams at all.
    """

    name: str
    title: str
    switched_on: str
    set_up: Callable[[Spot], Launch]
    install: Callable[[Path], Path] | None = None
    changed: str = ""
    # Whether it is another way to stream from a peer whose requests have a row already.
    streams_only: bool = False


def _set_up_floor(spot: Spot) -> Launch:
    return Launch(Target(spot.port), (sys.executable, floor.__file__, str(spot.port), str(spot.upstream_port)))


def _set_up_lane(spot: Spot) -> Launch:
    files = set_up_full(spot.folder, spot.upstream_url)
    target, count_logged = (
        files.target(spot.port, "support", {"message": QUESTION}),
        partial(files.read_log, "count(*)"),
    )
    environment = {"PG_TRIO_CONFIG": str(files.configuration)}  # Hypercorn's application finds it so.
    return Launch(target, files.make_lane_command(spot.port), environment, count_logged)


def _set_up_resumable(spot: Spot) -> Launch:
    files = set_up_full(spot.folder, spot.upstream_url, resumable=True)
    count_logged = partial(files.read_log, "count(*)")
    target = files.target(spot.port, "support", {"message": QUESTION})
    return Launch(target, files.make_lane_command(spot.port), {}, count_logged)


def _set_up_hypercorn(spot: Spot) -> Launch:
    stock = (str(BINARIES / "hypercorn"), "-k", "trio", "--bind", f"{HOST}:{spot.port}", "pg_trio.app:create_app()")
    return evolve(_set_up_lane(spot), command=stock)


def _set_up_unobserved(spot: Spot) -> Launch:
    launch = _set_up_lane(spot)
    return evolve(launch, environment={**launch.environment, "PG_TRIO_OBSERVE__METRICS": "false"})


def _set_up_observed(spot: Spot) -> Launch:
    launch = _set_up_lane(spot)
    # The upstream answers every path with 200, which is all that an exporter wants of a collector.
    observed = {"PG_TRIO_OBSERVE__OTLP_ENDPOINT": f"http://{HOST}:{spot.upstream_port}"}
    return evolve(launch, environment={**launch.environment, **observed})


def _set_up_websocket(spot: Spot) -> Launch:
    launch = _set_up_lane(spot)
    return evolve(launch, stream_target=evolve(launch.target, over_websocket=True))


def _set_up_openai(spot: Spot) -> Launch:
    files = set_up_full(spot.folder, spot.upstream_url)
    count_logged = partial(files.read_log, "count(*)")
    return Launch(files.openai_target(spot.port, QUESTION), files.make_lane_command(spot.port), {}, count_logged)


def _set_up_portkey(spot: Spot) -> Launch:
    headers = {"Authorization": "Bearer sk-upstream", "x-portkey-provider": "openai"}
    target = Target(spot.port, headers={**headers, "x-portkey-custom-host": spot.upstream_url})
    command = (str(shutil.which("node")), str(install_portkey(spot.cache)), "--headless", f"--port={spot.port}")
    mended = {"NODE_OPTIONS": f"--require {Path(__file__).with_name('portkey_streams.cjs')}"}
    return Launch(target, command, {"NODE_ENV": "production"}, stream_environment=mended)


def _set_up_litellm(spot: Spot) -> Launch:
    model = {"model": f"openai/{MODEL}", "api_base": spot.upstream_url, "api_key": "sk-upstream"}
    settings = {
        "model_list": [{"model_name": MODEL, "litellm_params": model}],
        "general_settings": {"master_key": _LITELLM_KEY},
        "litellm_settings": {"telemetry": False},
    }
    configuration = spot.folder / "litellm.json"  # LiteLLM reads YAML, and JSON is YAML.
    configuration.write_text(json.dumps(settings))
    command = (str(install_litellm(spot.cache)), "--config", str(configuration), "--host", HOST)
    # Prices come from the package: otherwise it fetches them from the internet at every start.
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
    target = Target(spot.port, headers={"Authorization": f"Bearer {_LITELLM_KEY}"})
    return Launch(target, (*command, "--port", str(spot.port), "--num_workers", "1"), environment)


_NGINX_ON = "keep-alive both ways, streams unbuffered; no JSON, no log"
_FLOOR_ON = "JSON both ways, streams passed on unread, keep-alive both ways; no gateway"
_PORTKEY_ON = (
    "provider and custom host by header; no key check, limits, guardrails or log (its open-source build has no token "
    "check)"
)
_PORTKEY_CHANGED = (
    "its build answers every stream with 500 on Node 20, because it changes headers that are immutable there; a module "
    "that is loaded before it (portkey_streams.cjs) gives it a copy of them"
)
_LITELLM_ON = "one worker, master key, one model, cost tracking as by default; no database, limits, guardrails or log"
# fmt: off
PEERS: tuple[Peer, ...] = (
    Peer("direct", "upstream, called directly", "nothing in between", lambda spot: Launch(Target(spot.upstream_port))),
    Peer("nginx", "nginx as a proxy (C's limit)", _NGINX_ON, lambda spot: Launch(
        Target(spot.port), tuple(make_proxy_command(spot.folder, spot.port, spot.upstream_port)))),
    Peer("floor", "the floor (Trio + llhttp)", _FLOOR_ON, _set_up_floor),
    Peer("lane", "pg_trio, its own lane", SWITCHED_ON, _set_up_lane),
    Peer("unobserved", "pg_trio, nothing observed", f"{SWITCHED_ON}; no metrics", _set_up_unobserved),
    Peer("observed", "pg_trio, all observed", f"{SWITCHED_ON}; a trace of every request", _set_up_observed),
    Peer("openai", "pg_trio, its own lane, on /v1", SWITCHED_ON, _set_up_openai),
    Peer("resumable", "pg_trio, resumable streams", f"{SWITCHED_ON}; each stream kept for clients that come back",
         _set_up_resumable),
    Peer("websocket", "pg_trio, over WebSockets", SWITCHED_ON, _set_up_websocket, streams_only=True),
    Peer("hypercorn", "pg_trio, stock Hypercorn", SWITCHED_ON, _set_up_hypercorn),
    Peer("portkey", f"Portkey {PORTKEY_VERSION} (Node)", _PORTKEY_ON, _set_up_portkey, install_portkey,
         _PORTKEY_CHANGED),
    Peer("litellm", f"LiteLLM {LITELLM_VERSION}", _LITELLM_ON, _set_up_litellm, install_litellm),
)
# fmt: on
TITLES = {peer.name: peer.title for peer in PEERS}
