"""A network of its own for one node (a network namespace), with a link to Redis alone that can be cut.

A cut link answers nothing: no RST, no ICMP, as a cable that is pulled, or a firewall that drops.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from attrs import frozen


@frozen
class SplitNetwork:
    """Addresses of this machine on both links, of the node, and what runs a command there."""

    name: str
    subnet: str

    @property
    def host(self) -> str:
        """This machine, as the node reaches all but Redis."""
        return f"{self.subnet}.1"

    @property
    def node(self) -> str:
        """The node, as this machine reaches it."""
        return f"{self.subnet}.2"

    @property
    def redis(self) -> str:
        """This machine on the link to Redis."""
        return f"{self.subnet}.5"

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name)

    def cut(self) -> None:
        """Redis and the node do not hear each other any more."""
        run_ip(f"link set {self.name}b down")

    def heal(self) -> None:
        run_ip(f"link set {self.name}b up")


@contextmanager
def split_network() -> Iterator[SplitNetwork]:
    """Make it, or skip the test where this user may not."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2 (scripts/system-packages)")
    # A device's name has at most 15 characters.
    network = SplitNetwork(f"pgt{os.getpid()}", f"10.213.{os.getpid() % 250}")
    try:
        run_ip(f"netns add {network.name}")
    except subprocess.CalledProcessError:
        pytest.skip("this machine does not permit network namespaces")
    try:
        run_ip(f"-n {network.name} link set lo up")
        _link(network, "a", network.host, network.node)
        _link(network, "b", network.redis, f"{network.subnet}.6")
        yield network
    finally:
        # Its devices go with it.
        run_ip(f"netns del {network.name}")


def _link(network: SplitNetwork, side: str, here: str, there: str) -> None:
    device, peer = f"{network.name}{side}", f"{network.name}{side}n"
    run_ip(f"link add {device} type veth peer name {peer} netns {network.name}")
    run_ip(f"addr add {here}/30 dev {device}")
    run_ip(f"link set {device} up")
    run_ip(f"-n {network.name} addr add {there}/30 dev {peer}")
    run_ip(f"-n {network.name} link set {peer} up")


def run_ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True, timeout=10)
