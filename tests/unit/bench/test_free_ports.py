"""Ports for servers that are told their number (scripts/bench/harness/processes.py)."""

from __future__ import annotations

import socket
import sys

import pytest

from scripts.bench.harness.processes import HOST, find_free_port


def test_nothing_listens_until_its_server_does() -> None:
    port = find_free_port()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port))


def test_its_server_starts_as_often_as_it_likes() -> None:
    port = find_free_port()

    for _ in range(2):
        with socket.create_server((HOST, port)) as server, socket.create_connection((HOST, port)):
            server.accept()[0].close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a server in beside the socket that holds its port")
def test_port_is_held_until_then() -> None:
    port = find_free_port()

    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((HOST, port))
