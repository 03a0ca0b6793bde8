"""`pg-trio serve`: run the gateway."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from pg_trio.app import CONFIG_VARIABLE
from pg_trio.config import load_settings
from pg_trio.errors import ConfigError


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "serve",
        help="run the gateway",
        description="Run the gateway with a configuration file, or --demo: no file, no key, a simulated provider.",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--config", type=Path, metavar="FILE", help=f"configuration file (default: ${CONFIG_VARIABLE})")
    source.add_argument("--demo", action="store_true", help="run a demonstration and print a ready curl line")
    parser.add_argument("--bind", metavar="HOST:PORT", help="where to listen (default: [server] bind, 127.0.0.1:8080)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    from pg_trio.server.serve import serve_settings

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    # httpx logs every call's URL at INFO: noise at best.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if arguments.demo:
        from pg_trio.cli.demo import run_demo

        return run_demo(arguments.bind)
    path = arguments.config or os.environ.get(CONFIG_VARIABLE)
    if not path:
        raise ConfigError("serve", [f"no configuration: give --config FILE or --demo, or set ${CONFIG_VARIABLE}"])
    return serve_settings(load_settings(Path(path)), arguments.bind)
