"""Who is compared: how each is started, how it is called, and what it has switched on."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import field, frozen

from scripts.bench._peers import ours
from scripts.bench._peers.install import LITELLM_VERSION, PORTKEY_VERSION, install_litellm, install_portkey
from scripts.bench._peers.nginx import make_proxy_command
from scripts.bench._peers.plan import MODEL
from scripts.bench._peers.ports import HOST
from scripts.bench._peers.target import Target

# LiteLLM refuses a weak master key; this one guards a loopback port for a few seconds.
_LITELLM_KEY = "sk-bench-7f3e91c2a85d4b60b1f2"
_UPSTREAM_KEY = "sk-upstream"


@frozen(slots=True)
class Site:
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
    """How to start a peer that is set up, and how to call it. No command: the target is the upstream itself.

    `count_logged`: how many calls it has written down, asked once it has stopped. `stream_environment`: what is added
    where its streams are measured.
    """

    target: Target
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(factory=dict)
    count_logged: Callable[[], int] | None = None
    stream_environment: Mapping[str, str] = field(factory=dict)


@frozen(slots=True)
class Peer:
    """One row of each table. `set_up` writes its files; `install` fetches it once, before anything is measured.

    `changed`: what was changed so that it streams at all.
    """

    name: str
    title: str
    switched_on: str
    set_up: Callable[[Site], Launch]
    install: Callable[[Path], Path] | None = None
    changed: str = ""


def _set_up_direct(site: Site) -> Launch:
    return Launch(Target(site.upstream_port))


def _set_up_nginx(site: Site) -> Launch:
    return Launch(Target(site.port), tuple(make_proxy_command(site.folder, site.port, site.upstream_port)))


def _set_up_floor(site: Site) -> Launch:
    script = Path(__file__).with_name("floor.py")
    ports = ("--port", str(site.port), "--upstream-port", str(site.upstream_port))
    return Launch(Target(site.port), (sys.executable, str(script), *ports))


def _set_up_lane(site: Site) -> Launch:
    gateway = ours.set_up(site.folder, site.upstream_url)
    command = gateway.make_lane_command(site.port)
    return Launch(gateway.make_target(site.port), command, count_logged=gateway.count_logged)


def _set_up_hypercorn(site: Site) -> Launch:
    gateway = ours.set_up(site.folder, site.upstream_url)
    command = gateway.make_hypercorn_command(site.port)
    return Launch(gateway.make_target(site.port), command, gateway.environment, gateway.count_logged)


def _set_up_portkey(site: Site) -> Launch:
    headers = {
        "Authorization": f"Bearer {_UPSTREAM_KEY}",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": site.upstream_url,
    }
    script = install_portkey(site.cache)
    command = (str(shutil.which("node")), str(script), "--headless", f"--port={site.port}")
    mended = {"NODE_OPTIONS": f"--require {Path(__file__).with_name('portkey_streams.cjs')}"}
    return Launch(Target(site.port, headers=headers), command, {"NODE_ENV": "production"}, stream_environment=mended)


def _set_up_litellm(site: Site) -> Launch:
    model = {"model": f"openai/{MODEL}", "api_base": site.upstream_url, "api_key": _UPSTREAM_KEY}
    configuration = site.folder / "litellm.json"  # LiteLLM reads YAML, and JSON is YAML
    configuration.write_text(
        json.dumps(
            {
                "model_list": [{"model_name": MODEL, "litellm_params": model}],
                "general_settings": {"master_key": _LITELLM_KEY},
                "litellm_settings": {"telemetry": False},
            }
        )
    )
    command = (str(install_litellm(site.cache)), "--config", str(configuration), "--host", HOST)
    # Prices come from the package: otherwise it fetches them from the internet at every start.
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
    target = Target(site.port, headers={"Authorization": f"Bearer {_LITELLM_KEY}"})
    return Launch(target, (*command, "--port", str(site.port), "--num_workers", "1"), environment)


PEERS: tuple[Peer, ...] = (
    Peer("direct", "upstream, called directly", "nothing in between", _set_up_direct),
    Peer(
        "nginx",
        "nginx as a proxy (C's limit)",
        "keep-alive both ways, streams unbuffered; no JSON, no log",
        _set_up_nginx,
    ),
    Peer(
        "floor",
        "the floor (Trio + llhttp)",
        "JSON both ways, streams passed on unread, keep-alive both ways; no gateway",
        _set_up_floor,
    ),
    Peer("lane", "pg_trio, its own lane", ours.SWITCHED_ON, _set_up_lane),
    Peer("hypercorn", "pg_trio, stock Hypercorn", ours.SWITCHED_ON, _set_up_hypercorn),
    Peer(
        "portkey",
        f"Portkey {PORTKEY_VERSION} (Node)",
        "provider and custom host by header; no key check, limits, guardrails or log (its open-source build has no "
        "token check)",
        _set_up_portkey,
        install_portkey,
        "its build answers every stream with 500 on Node 20, for it changes headers that are immutable there; a module "
        "loaded before it (portkey_streams.cjs) gives it a copy of them",
    ),
    Peer(
        "litellm",
        f"LiteLLM {LITELLM_VERSION}",
        "one worker, master key, one model, cost tracking as by default; no database, limits, guardrails or log",
        _set_up_litellm,
        install_litellm,
    ),
)
