"""`pg-trio simulate`: the simulated provider alone, for a gateway or a benchmark to call."""

from __future__ import annotations

import argparse
import ipaddress
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pg_trio.simulator import Behaviours, Received

DEFAULT_BIND = "127.0.0.1:9100"


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    command = commands.add_parser(
        "simulate",
        help="run a simulated provider",
        description="Run a provider that speaks the wires of OpenAI, Anthropic, Google and Cohere, and behaves, or"
        " fails, as the model's name says: model 'sim?latency=200ms&fault=status:503'. One address serves all four:"
        " /v1/chat/completions, /v1/messages, /v1beta/models/MODEL:generateContent (and :streamGenerateContent),"
        " /v2/chat. docs/simulator.md has all options.",
    )
    command.add_argument(
        "--bind", metavar="HOST:PORT", type=_address, default=DEFAULT_BIND, help=f"default {DEFAULT_BIND}; port 0: any"
    )
    command.add_argument("--seed", metavar="N", type=int, default=0, help="same seed, same luck (default 0)")
    command.add_argument("--default", metavar="BEHAVIOUR", default="", help="for calls that say nothing else")
    command.add_argument("--api-key", metavar="KEY", help="demand this key; others are refused as on their wire")
    command.add_argument(
        "--keep", metavar="N", type=_keep, default=10, help="requests that GET /requests tells of (default 10)"
    )
    command.add_argument("--verbose", action="store_true", help="one line a request on standard error")
    command.set_defaults(run=run, serves=True)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM, then exit status 0; 1 if the address cannot be used, 2 for a wrong behaviour."""
    import trio

    from pg_trio.simulator import Behaviours, parse_behaviour

    try:
        default = parse_behaviour(arguments.default)
    except ValueError as error:
        print(f"pg-trio simulate: --default: {error}", file=sys.stderr)
        return 2
    behaviours = Behaviours(
        default=default, seed=arguments.seed, api_key=arguments.api_key, keep_requests=arguments.keep
    )
    try:
        trio.run(partial(_serve, behaviours, *arguments.bind, verbose=arguments.verbose))
    except OSError as error:
        host, port = arguments.bind
        print(f"pg-trio simulate: cannot listen on {host}:{port}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: HOST must be an IP address or localhost") from None
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r}: PORT must be a number up to 65535")
    return host, int(port)


def _keep(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= 7):
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number up to 9999999")
    return int(text)


async def _serve(behaviours: Behaviours, host: str, port: int, *, verbose: bool) -> None:
    import trio

    from pg_trio.simulator import Simulator, serve_simulator

    failures: tuple[OSError | ExceptionGroup[OSError], ...] = ()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        try:
            async with trio.open_nursery() as nursery:
                serve = partial(serve_simulator, behaviours, host=host, port=port, on_done=_log if verbose else None)
                simulator: Simulator = await nursery.start(serve)
                print(_greeting(simulator.base_url, behaviours.api_key), flush=True)
                await anext(aiter(signals))
                nursery.cancel_scope.cancel()
        except* OSError as group:
            failures = group.exceptions
    # Raised here, because an exception raised in the handler would be put into a group again.
    for failure in failures:
        # Only the listening socket's error leaves the server.
        raise failure


def _greeting(base_url: str, api_key: str | None) -> str:
    # The key itself is not printed: terminals are recorded.
    key = " -H 'Authorization: Bearer YOUR_KEY'" if api_key is not None else ""
    body = '{"model":"sim?latency=200ms","messages":[{"role":"user","content":"Hello"}]}'
    return (
        f"{base_url}\n"
        f"curl -s {base_url}/chat/completions{key} -H 'Content-Type: application/json' -d '{body}'\n"
        "Ctrl-C stops it."
    )


def _log(request: Received) -> None:
    end = "client left" if request.closed_early else "done"
    fault = f" fault={request.fault}" if request.fault else ""
    print(f"{request.number} {request.method} {request.path} model={request.model}{fault} {end}", file=sys.stderr)
