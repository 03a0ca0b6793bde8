"""A gateway and its simulated providers, as processes, for the length of a block."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from scripts.bench._limits.worker import find_workers
from scripts.bench._peers.machine import choose_cores
from scripts.bench._peers.measure import Cores
from scripts.bench._peers.ours import PROJECT, create_token
from scripts.bench._peers.ports import HOST, find_free_ports
from scripts.bench._peers.processes import Pinned, run_pinned
from scripts.bench._peers.target import Target, wait_ready

READY = "ready"
_VIEW_LIMIT_S = 20.0
_PG_TRIO = str(Path(sys.executable).with_name("pg-trio"))

_CREDENTIAL = """\
[[credentials]]
name = "{name}"
provider = "openai"
api_key = "sk-upstream"
base_url = "{base_url}"
"""
_PROJECT = f"""\
[[projects]]
uuid = "{PROJECT}"
name = "Race"
slug = "race"
"""


@frozen(slots=True)
class Place:
    """One candidate: a credential (named as its provider is) and a model, which says how the provider behaves."""

    credential: str
    model: str


@frozen(slots=True)
class Endpoint:
    """An endpoint of the gateway: who is asked, in order, and its settings by their names."""

    slug: str
    candidates: Sequence[Place]
    settings: Mapping[str, object] = field(factory=dict)

    def as_toml(self) -> str:
        first, *others = self.candidates
        failover = ", ".join(f'{{ credential = "{place.credential}", model = "{place.model}" }}' for place in others)
        return (
            f'[[projects.endpoints]]\nslug = "{self.slug}"\ncredential = "{first.credential}"\n'
            f'model = "{first.model}"\nfailover = [{failover}]\nstreaming_enabled = true\n'
            f"{_settings_as_toml(self.settings)}"
        )


def _settings_as_toml(settings: Mapping[str, object]) -> str:
    return "".join(f"{name} = {_as_toml(value)}\n" for name, value in settings.items())


def _as_toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_as_toml(item)}" for name, item in value.items()) + " }"
    # JSON's numbers, booleans, strings and lists of those are TOML's.
    return json.dumps(value)


@frozen(slots=True, eq=False)
class Provider:
    """A running simulator."""

    port: int
    process: Pinned

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.port}/v1"

    def view(self, after: int = 0) -> dict[str, object]:
        """What it received so far: docs/simulator.md, "From another process"."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_VIEW_LIMIT_S)
        with contextlib.closing(connection):
            connection.request("GET", f"/requests?after={after}")
            told: dict[str, object] = json.loads(connection.getresponse().read())
        return told

    def requests(self, after: int = 0) -> list[dict[str, object]]:
        """The requests of the view."""
        requests = self.view(after)["requests"]
        assert isinstance(requests, list)
        return requests

    def count_calls(self) -> dict[str, int]:
        """How many requests came for each model."""
        counts: dict[str, int] = {}
        for request in self.requests():
            model = str(request["model"])
            counts[model] = counts.get(model, 0) + 1
        return counts


@frozen(slots=True, eq=False)
class Gateway:
    """A gateway that answers."""

    port: int
    token: str
    process: Pinned
    data_dir: Path

    @property
    def worker(self) -> int:
        """The pid of its one worker."""
        (pid,) = find_workers(self.data_dir)
        return pid

    def request(self, slug: str, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> bytes:
        """The bytes of one request to an endpoint."""
        data = json.dumps(body).encode()
        lines = {
            "Host": f"{HOST}:{self.port}",
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST /api/{PROJECT}/{slug} HTTP/1.1\r\n{head}\r\n".encode() + data


@frozen(slots=True)
class Site:
    """Where to measure: two cores, and a folder that is gone afterwards."""

    cores: Cores
    folder: Path

    @contextlib.contextmanager
    def run_provider(self, name: str, *, keep: int = 100_000, seed: int = 0) -> Iterator[Provider]:
        """A simulator on the load's core. Raises: PeerUnavailableError."""
        (port,) = find_free_ports(1)
        command = (_PG_TRIO, "simulate", "--bind", f"{HOST}:{port}", "--keep", str(keep), "--seed", str(seed))
        log = self.folder / f"{name}.log"
        with run_pinned(name, command, core=self.cores.load, log=log) as process:
            wait_ready(process, Target(port))
            yield Provider(port, process)

    def write_configuration(
        self,
        addresses: Mapping[str, str],
        endpoints: Sequence[Endpoint],
        settings: str = "",
        limits: Mapping[str, Mapping[str, object]] | None = None,
    ) -> Path:
        """A configuration file in a folder of its own, with a credential for each address.

        `settings` is TOML for its tables, `limits` are settings of credentials. The address named READY is that of the
        endpoint that shows it is ready.
        """
        folder = Path(tempfile.mkdtemp(prefix="gateway-", dir=self.folder))
        credentials = [
            _CREDENTIAL.format(name=name, base_url=url) + _settings_as_toml((limits or {}).get(name, {}))
            for name, url in addresses.items()
        ]
        ready = Endpoint(READY, [Place(READY, "sim")])
        configuration = folder / "gateway.toml"
        parts = (settings, *credentials, _PROJECT, *(endpoint.as_toml() for endpoint in (ready, *endpoints)))
        configuration.write_text("\n".join(parts))
        return configuration

    @contextlib.contextmanager
    def run_gateway(
        self,
        addresses: Mapping[str, str],
        endpoints: Sequence[Endpoint],
        settings: str = "",
        limits: Mapping[str, Mapping[str, object]] | None = None,
    ) -> Iterator[Gateway]:
        """`pg-trio serve` with such a configuration, one worker on the gateway's core. Raises: PeerUnavailableError."""
        configuration = self.write_configuration(addresses, endpoints, settings, limits)
        folder = configuration.parent
        token = create_token(configuration)
        (port,) = find_free_ports(1)
        command = (_PG_TRIO, "serve", "--config", str(configuration), "--bind", f"{HOST}:{port}")
        with run_pinned("pg-trio", command, core=self.cores.gateway, log=folder / "output.log") as process:
            target = Target(port, f"/api/{PROJECT}/{READY}", {"Authorization": f"Bearer {token}"}, '{"message": "Hi"}')
            wait_ready(process, target)
            yield Gateway(port, token, process, folder / "data")


def make_site(folder: Path) -> Site:
    """Raises: BenchError if there is one core only."""
    return Site(choose_cores(), folder)
