"""The proxies of deploy/, with the test's own ports and certificate in their configuration."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path

import trio
from attrs import frozen

from scripts.bench.harness.processes import find_free_port
from tests.deploy.deploy_tools import DEPLOY, find_tool, make_certificate, replace_once

PROXY_LIMIT_S = 20


@frozen
class Ports:
    """Where the proxy is reached (with and without TLS), and where the gateway is."""

    tls: int
    plain: int
    gateway: int
    admin: int

    def addresses(self) -> dict[str, str]:
        """What stands for the gateway's addresses in a configuration."""
        return {"127.0.0.1:8080": f"127.0.0.1:{self.gateway}", "127.0.0.1:8081": f"127.0.0.1:{self.admin}"}


def pick_ports(gateway: int, admin: int) -> Ports:
    """Ports of this machine that are not in use."""
    return Ports(find_free_port(), find_free_port(), gateway, admin)


def write_nginx(folder: Path, ports: Ports) -> list[str]:
    """Write the configuration; the command that serves it."""
    certificate, key = make_certificate(folder)
    site = replace_once(
        (DEPLOY / "nginx" / "pg_trio.conf").read_text(encoding="utf-8"),
        ports.addresses()
        | {
            "/etc/ssl/certs/gateway.example.com.pem": str(certificate),
            "/etc/ssl/private/gateway.example.com.key": str(key),
            "listen 443 ssl": f"listen 127.0.0.1:{ports.tls} ssl",
            "listen 80;": f"listen 127.0.0.1:{ports.plain};",
        },
    )
    (folder / "site.conf").write_text(site, encoding="utf-8")
    parts = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = " ".join(f"{part}_temp_path {folder}/{part};" for part in parts)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user} pid {folder}/pid; error_log stderr; events {{}} daemon off;"
        f" http {{ access_log off; {paths} include {folder}/site.conf; }}",
        encoding="utf-8",
    )
    return [find_tool("nginx"), "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def write_caddy(folder: Path, ports: Ports) -> list[str]:
    """Write the configuration; the command that serves it."""
    certificate, key = make_certificate(folder)
    site = replace_once(
        (DEPLOY / "caddy" / "Caddyfile").read_text(encoding="utf-8"),
        ports.addresses()
        | {
            "gateway.example.com {": f"https://gateway.test:{ports.tls} {{\n\tbind 127.0.0.1\n\ttls {certificate} {key}"
        },
    )
    head = f"{{\n\tadmin off\n\thttp_port {ports.plain}\n}}\n"
    (folder / "Caddyfile").write_text(head + site, encoding="utf-8")
    return [find_tool("caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


def write_haproxy(folder: Path, ports: Ports) -> list[str]:
    """Write the configuration; the command that serves it."""
    certificate, key = make_certificate(folder)
    both = folder / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    text = replace_once(
        (DEPLOY / "haproxy" / "haproxy.cfg").read_text(encoding="utf-8"),
        ports.addresses()
        | {
            "/etc/haproxy/certs/gateway.example.com.pem": str(both),
            "bind :443": f"bind 127.0.0.1:{ports.tls}",
            "bind :80": f"bind 127.0.0.1:{ports.plain}",
        },
    )
    (folder / "haproxy.cfg").write_text(text, encoding="utf-8")
    return [find_tool("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")]


PROXIES: dict[str, Callable[[Path, Ports], list[str]]] = {
    "nginx": write_nginx,
    "caddy": write_caddy,
    "haproxy": write_haproxy,
}


@frozen
class FrontProxy:
    """A proxy that runs in front of a gateway."""

    ports: Ports
    context: ssl.SSLContext

    async def connect(self, address: str = "127.0.0.1") -> trio.SSLStream[trio.SocketStream]:
        """A TLS connection to the proxy, from this address of the loopback network."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.ports.tls, local_address=address)
        return trio.SSLStream(stream, self.context, server_hostname="gateway.test", https_compatible=True)


async def start_proxy(nursery: trio.Nursery, name: str, folder: Path, ports: Ports) -> FrontProxy:
    """Start the proxy, and wait until it listens. It ends with the nursery."""
    command = PROXIES[name](folder, ports)
    environ = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    async with await trio.open_file(folder / "output", "wb") as file:
        output = file.wrapped
        process = await trio.lowlevel.open_process(command, stdout=output, stderr=output, env=environ)
    nursery.start_soon(_end_with_nursery, process)
    with trio.move_on_after(PROXY_LIMIT_S):
        while process.poll() is None:
            try:
                for port in (ports.tls, ports.plain):
                    await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
            except OSError:
                await trio.sleep(0.02)
            else:
                return FrontProxy(ports, ssl.create_default_context(cafile=str(folder / "gateway.pem")))
    raise AssertionError((folder / "output").read_text(encoding="utf-8", errors="replace"))


async def _end_with_nursery(process: trio.Process) -> None:
    try:
        await trio.sleep_forever()
    finally:
        process.terminate()
        with trio.CancelScope(shield=True), trio.move_on_after(PROXY_LIMIT_S):
            await process.wait()
        process.kill()
